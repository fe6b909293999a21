"""A gateway worker, put together: the only place of the worker that constructs things.

`python -m bridge.gateway`, by itself or as the program of an Erlang port (then with the
arguments ErlPort gives). Settings come from the environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import random
import secrets
import signal
import sys
from dataclasses import asdict
from pathlib import Path

import uvloop
from redis.asyncio import Redis

from bridge.access import check_exposure, is_loopback
from bridge.contracts import builds
from bridge.contracts.files import BUILT_IN
from bridge.contracts.implementations import (
    LeftOut,
    folder_of,
    implementers,
    of_settings,
    python_handler,
    python_handlers,
)
from bridge.contracts.registry import Registry
from bridge.dispatch import Dispatcher
from bridge.edge.edge import Edge, uuid4_of
from bridge.edge.feed import Feed
from bridge.edge.listener import Listener, NoListener, obtain
from bridge.edge.serve import serve
from bridge.effects import Effects
from bridge.errors import BridgeError, ContractBroken
from bridge.joelclaw import SUBSYSTEM
from bridge.joelclaw.adapter import Adapter
from bridge.joelclaw.deliverer import Deliverer
from bridge.joelclaw.envelopes import Envelopes
from bridge.joelclaw.inngest.api import EventApi, Inngest
from bridge.joelclaw.inngest.ingress import Ingress
from bridge.joelclaw.intake.intake import Intake
from bridge.joelclaw.outlet import TOPIC, Outlet, Receiver
from bridge.joelclaw.outlet_adapter import OutletAdapter
from bridge.joelclaw.outlets.session import SessionOutlet
from bridge.joelclaw.outlets.topic import TopicOutlet
from bridge.joelclaw.push import Pusher
from bridge.joelclaw.quarantine import Put, Quarantine
from bridge.joelclaw.redis_client import ANSWER_S, connect
from bridge.joelclaw.system_events import SystemEvents
from bridge.joelclaw.terminal.terminal import Terminal
from bridge.joelclaw.wanted import check_joelclaw
from bridge.journal.redis import RedisJournal
from bridge.journal.redis_storage import RedisStorage
from bridge.journal.server import UnsafeServer, check_server
from bridge.journal.store import OUTBOX_KINDS, Journal, Storage
from bridge.link.arguments import BadArgument, PortArguments, parse_arguments
from bridge.link.session import SessionLimits
from bridge.link.transport import Transport
from bridge.link.transports.port import open_port
from bridge.message import JSON, RuntimeName
from bridge.pause import pause
from bridge.runtimes.elixir import ElixirRuntime
from bridge.runtimes.node_links import NodeLinks
from bridge.runtimes.python import Handler, PythonRuntime
from bridge.runtimes.runtime import Runtime
from bridge.runtimes.typescript import TypeScriptRuntime
from bridge.settings import BadSetting, Settings, parse
from bridge.targets import Executor
from bridge.telemetry import Telemetry, log_to
from bridge.turns import Turns

REDIS_RETRY_S = 0.5
ALIVE_S = 1.0
LOOK_S = 1.0  # how late a storage that was replaced is noticed where nothing is asked of it
ROUTES_EVERY = 5  # looks


def main() -> int:
    """Run a worker until it is told to leave. Exit 2: settings or contracts are wrong."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("websockets").setLevel(logging.CRITICAL)  # telemetry tells of clients
    try:
        settings = parse(os.environ)
        check_exposure(settings)
        port = parse_arguments(sys.argv[1:])
        uvloop.run(Worker(settings, port).run())
    except (BadSetting, BadArgument, ContractBroken, NoListener, UnsafeServer) as error:
        print(f"bridge: {error}", file=sys.stderr)
        return 2
    return 0


def _load(
    settings: Settings, left_out: LeftOut
) -> tuple[Registry, dict[str, Handler], dict[str, str]]:
    """Load the built-in contracts and implementations and the user's, the same way.

    The last are the builds of the implementations, as far as `bridge up` kept them. What of the
    user's cannot be loaded is left out.
    """
    folders = [Path(folder) for folder in settings.contracts.split(":") if folder]
    registry = Registry.load(BUILT_IN, *folders, left_out=left_out)
    entries = of_settings(settings, registry.names(), left_out)
    kept = builds.read(Path(settings.builds), "python") if settings.builds else {}
    handlers = python_handlers(entries, *folder_of(settings), builds=kept, left_out=left_out)
    return registry, handlers, {name: build.digest for name, build in kept.items()}


class Worker:
    """One gateway worker: edge, dispatcher, runtimes, effects and the link to the node."""

    def __init__(self, settings: Settings, port: PortArguments | None) -> None:
        self._settings = settings
        self._port = port
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._leaving = asyncio.Event()
        self._serves = False
        self._routes_gone = False
        self._telemetry = Telemetry()
        self._log = logging.getLogger("bridge")
        self._telemetry.attach(log_to(self._log))

    async def run(self) -> None:
        settings = self._settings
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._leave, number.name)
        # The port first: frames must not meet a process that still prints elsewhere.
        transport = open_port(self._port) if self._port else None
        left_out: LeftOut = []
        registry, handlers, digests = _load(settings, left_out)
        for fault in left_out:
            self._telemetry.emit("left_out", text=str(fault))
        elixir = ElixirRuntime()
        nodes = self._nodes(elixir, registry.digests(), transport)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(nodes.close)
            joelclaw = _Joelclaw(self._name, settings, registry, self._telemetry, stack)
            journal = RedisJournal(
                settings.redis_url,
                done_ttl_ms=settings.done_ttl_ms,
                events_keep=settings.events_keep,
                delivering=joelclaw.delivering,
                replaced=self._storage_replaced,
            )
            stack.push_async_callback(journal.close)
            if not await self._storage_ready(journal, registry):
                return
            python = PythonRuntime(handlers, settings.python_budget_ms, digests)
            typescript = TypeScriptRuntime(settings.redis_url, self._name, registry.digests())
            runtimes: dict[RuntimeName, Runtime] = {
                "python": python,
                "elixir": elixir,
                "typescript": typescript,
            }
            await typescript.start()
            stack.push_async_callback(typescript.close)
            dispatcher, effects = self._dispatch(registry, journal, runtimes, joelclaw, python)
            adapters, feeds = joelclaw.adapters(dispatcher, journal)
            ingress = joelclaw.ingress(dispatcher)

            async def status() -> dict[str, JSON]:
                for name in registry.names():
                    if not python.available(name):  # no epoch has a build of it: it may be new
                        self._look_for_build(python, name)
                return {
                    "worker": self._name,
                    "pid": os.getpid(),
                    "runtimes": {
                        name: {s: runtime.available(s) for s in registry.names()}
                        for name, runtime in runtimes.items()
                    },
                    "implementations": implementers(settings, registry.names(), left_out),
                    "left_out": list(map(str, left_out)),
                    "storage": await _status_of(journal.storage),
                    "effects": await _effects_of(journal, registry.names()),
                    "link": nodes.counts(),
                    "nodes": elixir.nodes(),
                    "builds": {"python": python.builds(), "typescript": typescript.builds()},
                    "joelclaw": {
                        "ingress": ingress.status(),
                        **{adapter.name: adapter.status() for adapter in adapters},
                    },
                    "counts": self._telemetry.counts(),
                }

            edge = Edge(
                registry,
                dispatcher,
                journal,
                settings,
                self._telemetry,
                status=status,
                ingress=ingress,
                feeds=feeds,
            )
            nodes.admit(edge.functions)
            storage = asyncio.create_task(self._watch_storage(journal, registry))
            await self._serve(edge, effects, adapters)
            storage.cancel()

    def _dispatch(
        self,
        registry: Registry,
        journal: Journal,
        runtimes: dict[RuntimeName, Runtime],
        joelclaw: _Joelclaw,
        python: PythonRuntime,
    ) -> tuple[Dispatcher, Effects]:
        """Make the dispatcher and the executors: each commit wakes them, timers dispatch."""
        settings, telemetry = self._settings, self._telemetry
        effects: Effects
        dispatcher = Dispatcher(
            registry,
            journal,
            runtimes,
            telemetry,
            zone=settings.zone,
            committed=lambda subsystem: effects.kick(subsystem),
            rerouted=lambda subsystem: self._look_for_build(python, subsystem),
        )
        effects = Effects(
            journal,
            dispatcher,
            joelclaw.executors(),
            registry.names(),
            telemetry,
            lease_ms=settings.outbox_lease_ms,
            attempts=settings.outbox_attempts,
            timeout_ms=settings.timeout_ms,
        )
        return dispatcher, effects

    def _look_for_build(self, python: PythonRuntime, subsystem: str) -> None:
        """Take in what was reloaded: whoever reloads writes the build, then changes the route.

        So no commit under the new epoch is of another build, whichever worker makes it.
        """
        settings = self._settings
        if not settings.builds:
            return
        build = builds.read_one(Path(settings.builds), "python", subsystem)
        if build is None or build.digest == python.builds().get(subsystem):
            return
        try:
            where = of_settings(settings, [subsystem])[subsystem]["python"]
            handler = python_handler(subsystem, where, build)
        except (ContractBroken, LookupError) as error:
            python.replace(subsystem, None, build.digest)
            self._telemetry.emit("reload_failed", subsystem=subsystem, text=str(error))
        else:
            python.replace(subsystem, handler, build.digest)
            self._telemetry.emit("reloaded", subsystem=subsystem, build=build.digest)

    def _nodes(
        self, elixir: ElixirRuntime, digests: dict[str, str], transport: Transport | None
    ) -> NodeLinks:
        settings = self._settings
        nodes = NodeLinks(
            self._name,
            elixir,
            digests,
            Path(settings.link_dir) / f"{self._name}.sock" if settings.link_dir else None,
            SessionLimits(settings.link_max_frame_bytes, settings.link_in_flight),
            self._telemetry,
            self._leave,
            self._orphaned,
        )
        if transport is not None and self._port is not None:
            nodes.take_port(transport, self._port.packet)
        else:
            nodes.open_socket()
        return nodes

    async def _serve(self, edge: Edge, effects: Effects, adapters: list[Adapter]) -> None:
        """Take clients until told to leave, then send them on and finish what is in flight."""
        settings = self._settings
        try:
            listener = await obtain(settings, self._name)
        except OSError as error:  # whoever gives it out is stopping, or the port is taken
            raise NoListener(f"no socket to listen on: {error.strerror or error}") from error
        self._serves = not self._leaving.is_set()
        # What is there now stays: each full collection would look at all of it, for 20 ms.
        gc.collect()
        gc.freeze()
        started = asyncio.Event()
        work = asyncio.create_task(effects.run())
        beside = [asyncio.create_task(adapter.run()) for adapter in adapters]
        server = asyncio.create_task(serve(edge, settings, listener.sock, started.set))
        ready = asyncio.create_task(self._say_ready(started, listener))
        lost = asyncio.create_task(listener.lost.wait())
        leaving = asyncio.create_task(self._leaving.wait())
        done, _ = await asyncio.wait(
            (work, server, lost, leaving, *beside), return_when=asyncio.FIRST_COMPLETED
        )
        for adapter in adapters:
            adapter.close()
        self._telemetry.emit("draining", worker=self._name)
        try:
            async with asyncio.timeout(settings.drain_ms / 1000 + 1):
                await edge.drain()
        except TimeoutError:
            self._telemetry.emit("drain_cut_short", worker=self._name)
        await asyncio.wait((server, *beside), timeout=2)
        tasks = (work, server, lost, leaving, ready, *beside)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listener.close()
        for finished in done:
            finished.result()  # a defect that ended the worker is shown, not swallowed

    async def _say_ready(self, started: asyncio.Event, listener: Listener) -> None:
        await started.wait()
        await listener.ready()
        self._telemetry.emit("serving", worker=self._name)
        while True:
            await asyncio.sleep(ALIVE_S)
            await listener.alive()

    async def _storage_ready(self, journal: RedisJournal, registry: Registry) -> bool:
        """Wait for Redis as long as it is away; False when told to leave meanwhile.

        Raises UnsafeServer for one that would lose what it took, or does not allow a command.
        """
        said = ""
        while not self._leaving.is_set():
            try:
                await check_server(self._settings.redis_url, unsafe=self._settings.redis_unsafe)
                await journal.storage.recognise()
                await journal.adopt_routes()
                await self._ensure_routes(journal, registry)
                return True
            except BridgeError as error:
                if str(error) != said:
                    said = str(error)
                    self._telemetry.emit("waiting_for_redis", text=said)
            await pause(REDIS_RETRY_S, self._leaving)
        return False

    async def _watch_storage(self, journal: RedisJournal, registry: Registry) -> None:
        """Notice a storage that was replaced or went back, and write routes that are gone there:
        without them every subsystem would stop.
        """
        looks = 0
        while not self._leaving.is_set():
            await pause(LOOK_S, self._leaving)
            looks += 1
            with contextlib.suppress(BridgeError):  # reads and commits report it
                await journal.storage.look()
                if self._routes_gone or looks % ROUTES_EVERY == 0:
                    await self._ensure_routes(journal, registry)
                    self._routes_gone = False

    def _storage_replaced(self, storage: Storage) -> None:
        self._routes_gone = True
        text = f"{storage.before} is now {storage.id}: {storage.why}"
        self._telemetry.emit("storage_replaced", text=text)

    async def _ensure_routes(self, journal: Journal, registry: Registry) -> None:
        there = {route.subsystem for route in await journal.routes()}
        for name in registry.names():
            if name not in there:
                contract = registry.get(name)
                await journal.ensure_route(name, contract.owner, contract.fallback)
                self._telemetry.emit("route_made", subsystem=name, owner=contract.owner)

    def _orphaned(self) -> None:
        """Leave if nobody was served yet: clients of an orphan keep it, this one has none."""
        if not self._serves:
            self._leave("the node is gone")

    def _leave(self, why: str) -> None:
        self._telemetry.emit("leaving", worker=self._name, text=why)
        self._leaving.set()


class _Joelclaw:
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
            receiver = feeds[TOPIC] = TopicOutlet(deliveries, token)
        elif outlet.kind == "session" and self._pusher is not None:
            receiver = SessionOutlet(self._pusher, outlet.session)
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


async def _status_of(storage: RedisStorage) -> JSON:
    try:
        found = await storage.read()
    except BridgeError as error:
        return error.response()
    return {**(asdict(found) if found else {}), "refused": storage.refused}


async def _effects_of(journal: Journal, subsystems: list[str]) -> JSON:
    try:
        targets = {kind: await journal.targets.state(kind) for kind in OUTBOX_KINDS}
        return {
            "away": {kind: state._asdict() for kind, state in targets.items() if state.since_ms},
            "outbox": {name: asdict(await journal.tally(name)) for name in subsystems},
        }
    except BridgeError as error:
        return error.response()


if __name__ == "__main__":
    sys.exit(main())
