"""What of a worker speaks with joelclaw, put together."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Mapping

from redis.asyncio import Redis

from bridge.access import is_loopback
from bridge.activities.activity import ActivityRuntime
from bridge.contracts.registry import Registry
from bridge.dispatch import Dispatcher
from bridge.edge.edge import uuid4_of
from bridge.edge.feed import Feed
from bridge.joelclaw import SUBSYSTEM
from bridge.joelclaw.adapter import Adapter
from bridge.joelclaw.envelopes import Envelopes
from bridge.joelclaw.inngest.activities import InngestActivities
from bridge.joelclaw.inngest.api import EventApi, Inngest
from bridge.joelclaw.inngest.ingress import Ingress
from bridge.joelclaw.intake.intake import Intake
from bridge.joelclaw.outlet.adapter import OutletAdapter
from bridge.joelclaw.outlet.deliverer import Deliverer
from bridge.joelclaw.outlet.outlet import TOPIC, Outlet, Receiver
from bridge.joelclaw.outlet.session import SessionReceiver
from bridge.joelclaw.outlet.topic import TopicReceiver
from bridge.joelclaw.push import Pusher
from bridge.joelclaw.quarantine import Put, Quarantine
from bridge.joelclaw.system_events import SystemEvents
from bridge.joelclaw.terminal.terminal import Terminal
from bridge.joelclaw.wanted import check_joelclaw
from bridge.journal.store import Journal
from bridge.redis.commands import ANSWER_S, connect
from bridge.settings import Settings
from bridge.targets import Executor
from bridge.telemetry import Telemetry
from bridge.turns import Turns


class Joelclaw:
    """What speaks with joelclaw, made as far as the settings ask for it.

    Its connections end with `stack`. Raises BadSetting where the settings do not fit the
    subsystems there are.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        registry: Registry,
        telemetry: Telemetry,
        stack: contextlib.AsyncExitStack,
    ) -> None:
        self._name = name
        self._settings = settings
        self._registry = registry
        self._telemetry = telemetry
        self._wanted = check_joelclaw(settings, registry)
        self._envelopes = Envelopes.load()
        self._stack = stack
        self._pusher: Pusher | None = None
        if settings.joelclaw_redis_url:
            self._pusher = Pusher(self._theirs("bridge-push"), telemetry, "joelclaw")
        self.delivering = frozenset({SUBSYSTEM} if self._wanted.outlet else ())

    def executors(self) -> dict[str, Executor]:
        """Make what carries out effects outside the bridge, by kind."""
        executors: dict[str, Executor] = {}
        if (api := self._event_api()) is not None:
            executors["inngest"] = Inngest(api)
        if self._pusher is not None:
            executors["system_event"] = SystemEvents(self._pusher)
        return executors

    def activities(self, prefixes: Mapping[str, str]) -> dict[str, ActivityRuntime]:
        """Make what runs the activities that are Inngest functions, if Inngest is known."""
        api = self._event_api() if prefixes else None
        return {} if api is None else {"inngest": InngestActivities(api, prefixes)}

    def adapters(
        self, dispatcher: Dispatcher, journal: Journal
    ) -> tuple[list[Adapter], dict[str, Feed]]:
        """Make what runs beside the edge, and what the edge has clients join, by topic."""
        settings, adapters, feeds = self._settings, list[Adapter](), dict[str, Feed]()
        quarantine = Quarantine(self._redis(settings.redis_url, "bridge"))
        # Without an outlet what is taken would reach nobody: it waits in joelclaw's list.
        if settings.joelclaw_redis_url and self._wanted.outlet is not None:
            intake = Intake(
                self._name,
                self._theirs("bridge"),
                self._theirs("bridge-intake", answer_s=None),
                quarantine.put,
                self._envelopes,
                dispatcher,
                journal,
                self._telemetry,
                timeout_ms=settings.timeout_ms,
            )
            adapters.append(intake)
        if self._wanted.terminal is not None:
            terminal = Terminal(
                self._name,
                self._wanted.terminal,
                dispatcher,
                journal,
                self._envelopes,
                settings,
                self._telemetry,
            )
            adapters.append(terminal)
        if self._wanted.outlet is not None:
            outlet, feeds = self._delivery(self._wanted.outlet, journal, quarantine.put)
            adapters.append(outlet)
        return adapters, feeds

    def ingress(self, dispatcher: Dispatcher) -> Ingress:
        """Make Inngest's event endpoint."""
        settings = self._settings
        return Ingress(
            self._wanted.targets,
            self._registry,
            dispatcher,
            self._envelopes,
            # Connections of its own: senders of events must not keep effects waiting.
            self._event_api(),
            self._telemetry,
            Turns(),
            event_key=settings.inngest_event_key,
            exposed=not is_loopback(settings.host),
            timeout_ms=settings.timeout_ms,
            new_id=lambda: uuid4_of(random.getrandbits(128)),
        )

    def _delivery(
        self, outlet: Outlet, journal: Journal, quarantine: Put
    ) -> tuple[OutletAdapter, dict[str, Feed]]:
        telemetry, deliveries = self._telemetry, journal.deliveries(SUBSYSTEM)
        token = f"{outlet.kind} {self._name}"
        receiver: Receiver | None = None
        feeds = dict[str, Feed]()
        if outlet.kind == "topic":
            receiver = feeds[TOPIC] = TopicReceiver(deliveries, token)
        elif outlet.kind == "session" and self._pusher is not None:
            receiver = SessionReceiver(self._pusher, outlet.session)
        deliverer = (
            Deliverer(
                token, deliveries, receiver, quarantine, telemetry, zone=self._settings.zone
            )
            if receiver
            else None
        )
        return OutletAdapter(outlet, deliveries, deliverer, self._pusher, telemetry), feeds

    def _theirs(self, name: str, *, answer_s: float | None = ANSWER_S) -> Redis:
        return self._redis(self._settings.joelclaw_redis_url, name, answer_s)

    def _redis(self, url: str, name: str, answer_s: float | None = ANSWER_S) -> Redis:
        client = connect(url, name, answer_s=answer_s)
        self._stack.push_async_callback(client.aclose)
        return client

    def _event_api(self) -> EventApi | None:
        settings = self._settings
        if not settings.inngest_url:
            return None
        api = EventApi(settings.inngest_url, settings.inngest_event_key)
        self._stack.push_async_callback(api.close)
        return api
