"""Deliverers on real Redises, and a subsystem that emits what they deliver."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvloop
from redis.asyncio import Redis

from bridge.joelclaw import SUBSYSTEM
from bridge.joelclaw.envelopes import Envelopes
from bridge.joelclaw.outlet.deliverer import Deliverer
from bridge.joelclaw.outlet.outlet import Receiver
from bridge.joelclaw.outlet.session import PATIENCE_S, SessionReceiver
from bridge.joelclaw.push import Pusher
from bridge.joelclaw.quarantine import Quarantine
from bridge.journal.redis import RedisJournal
from bridge.journal.store import Deliveries
from bridge.journal.values import Delivery
from bridge.message import JSON
from bridge.redis.commands import connect
from bridge.telemetry import Telemetry
from tests.deadline import DEADLINE_S, until
from tests.journal.case import prepare
from tests.redis_server import RedisServer

LEASE_MS = 600


class Recorder:
    """A receiver of a test's own; `before` sees each delivery first, and may raise or wait."""

    def __init__(self) -> None:
        self.present = True
        self.taken: list[str] = []
        self.begun: list[str] = []
        self.before: Callable[[Delivery], Awaitable[None]] | None = None
        self.changed = asyncio.Event()

    async def change(self, present: bool) -> None:
        while self.present == present:
            await self.changed.wait()

    def appear(self, present: bool = True) -> None:
        self.present = present
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    async def deliver(self, delivery: Delivery) -> bool:
        self.begun.append(delivery.event.id)
        if self.before is not None:
            await self.before(delivery)
        self.taken.append(delivery.event.id)
        return False


@dataclass
class World:
    own: RedisServer
    joelclaw: RedisServer
    journal: RedisJournal
    quarantine: Quarantine
    theirs: Redis
    telemetry: Telemetry = field(default_factory=Telemetry)
    closes: list[Callable[[], Awaitable[Any]]] = field(default_factory=list)
    running: dict[str, tuple[Deliverer, asyncio.Task[None]]] = field(default_factory=dict)
    numbers: Any = field(default_factory=itertools.count)

    @property
    def deliveries(self) -> Deliveries:
        return self.journal.deliveries(SUBSYSTEM)

    def start(self, worker: str, receiver: Receiver, lease_ms: int = LEASE_MS) -> None:
        """Run a deliverer as a worker of this name would, with a connection of its own."""
        journal = RedisJournal(self.own.url)
        self.closes.append(journal.close)
        deliverer = Deliverer(
            f"test {worker}",
            journal.deliveries(SUBSYSTEM),
            receiver,
            self.quarantine.put,
            self.telemetry,
            lease_ms=lease_ms,
            first_retry_ms=1,
        )
        self.running[worker] = deliverer, asyncio.create_task(deliverer.run())

    def session(self, patience_s: float = PATIENCE_S) -> SessionReceiver:
        pushes = connect(self.joelclaw.url, "bridge-push")
        self.closes.append(pushes.aclose)
        pusher = Pusher(pushes, self.telemetry, "joelclaw")
        return SessionReceiver(pusher, "agent", patience_s=patience_s)

    async def kill(self, worker: str) -> None:
        """End a worker where it stands: no lease is let go."""
        _, task = self.running.pop(worker)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def end(self, worker: str) -> None:
        deliverer, task = self.running.pop(worker)
        deliverer.close()
        await task

    async def emit(self, *prompts: str, **payload: JSON) -> list[str]:
        """Commit a prompt each and return the events' ids."""
        return [
            await self.commit("triage.prompt", {"prompt": prompt, "event_ids": [], **payload})
            for prompt in prompts
        ]

    async def commit(self, type: str, payload: JSON) -> str:
        message_id = f"m{next(self.numbers)}"
        commit = await prepare(
            self.journal,
            message_id,
            {"effect": "emit", "type": type, "payload": payload},
            subsystem=SUBSYSTEM,
            key="gateway",
            now_ms=time.time_ns() // 1_000_000,
        )
        assert (await self.journal.commit(commit, 5000)).status == "committed"
        return f"{message_id}/0"

    async def pushed(self, session: str = "agent") -> list[Any]:
        """Return what is in a session's list, the oldest first, held to joelclaw's contract."""
        items: Any = await self.theirs.lrange(f"joelclaw:events:{session}", 0, -1)
        envelopes = Envelopes.load()
        return [envelopes.check("SystemEvent", item) for item in reversed(items)]

    async def prompts(self) -> list[str]:
        return [event["payload"]["prompt"] for event in await self.pushed()]

    async def left(self) -> list[str]:
        return [delivery.event.id for delivery in (await self.deliveries.waiting()).first]

    async def until_delivered(self) -> None:
        async def none_left() -> bool:
            return await self.left() == []

        await until(none_left, "everything is delivered")

    def count(self, name: str) -> int:
        counts = self.telemetry.counts().items()
        return sum(n for text, n in counts if text.partition("{")[0] == name)


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    with RedisServer() as own, RedisServer() as joelclaw:
        journal = RedisJournal(own.url, delivering=frozenset({SUBSYSTEM}))
        await journal.ensure_route(SUBSYSTEM, "python", None)
        quarantine, theirs = connect(own.url, "test"), connect(joelclaw.url, "test")
        made = World(own, joelclaw, journal, Quarantine(quarantine), theirs)
        try:
            yield made
        finally:
            for worker in list(made.running):
                await made.kill(worker)
            for close in (*made.closes, journal.close, quarantine.aclose, theirs.aclose):
                await close()


def run(test: Callable[[World], Awaitable[None]]) -> None:
    """Run a test in a world of its own, within the deadline."""

    async def within() -> None:
        async with asyncio.timeout(2 * DEADLINE_S), world() as made:
            await test(made)

    uvloop.run(within())
