"""An intake on two real Redises: joelclaw's, and the bridge's with the journal."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvloop
from redis.asyncio import Redis

from bridge.contracts.files import BUILT_IN
from bridge.contracts.registry import Registry
from bridge.dispatch import Dispatcher
from bridge.errors import BridgeError
from bridge.joelclaw.envelopes import Envelopes
from bridge.joelclaw.intake.in_flight import IN_FLIGHT, LIST
from bridge.joelclaw.intake.intake import Intake
from bridge.joelclaw.intake.takeover import take
from bridge.joelclaw.quarantine import Quarantine, Quarantined
from bridge.journal.redis import RedisJournal
from bridge.message import Invocation, Judge, Message, Outcome, RuntimeName
from bridge.redis.commands import connect
from bridge.runtimes.python import PythonRuntime
from bridge.runtimes.runtime import Runtime, unjudged
from bridge.subsystems.triage import handle
from bridge.telemetry import Telemetry
from tests.deadline import DEADLINE_S, until
from tests.redis_server import RedisServer

Around = Callable[[Invocation], Awaitable[None]]


def event(id: str, **changes: Any) -> dict[str, Any]:
    """Return one SystemEvent of joelclaw's."""
    whole = {"id": id, "type": "test.event", "source": "cli", "payload": {}, "ts": 1795380404972}
    return whole | changes


class Python(PythonRuntime):
    """The real handler, with something happening before each call."""

    before: Around | None = None

    async def handle(self, invocation: Invocation, judge: Judge = unjudged) -> Outcome:
        if self.before is not None:
            await self.before(invocation)
        return await super().handle(invocation, judge)


class Dispatching(Dispatcher):
    """The real dispatcher, with something happening after each commit."""

    after: Callable[[Message], Awaitable[None]] | None = None

    async def dispatch(self, message: Message, **options: Any) -> Any:
        reply = await super().dispatch(message, **options)
        if self.after is not None:
            await self.after(message)
        return reply


@dataclass
class World:
    """Makes intakes like those of workers; `theirs` is a client of joelclaw's Redis."""

    joelclaw: RedisServer
    own: RedisServer
    theirs: Redis
    journal: RedisJournal
    quarantine: Quarantine
    registry: Registry = field(default_factory=lambda: Registry.load(BUILT_IN))
    clients: list[Redis] = field(default_factory=list)
    running: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    intakes: dict[str, Intake] = field(default_factory=dict)
    telemetry: Telemetry = field(default_factory=Telemetry)

    def start(self, worker: str, before: Around | None = None, dies_after: str = "") -> Intake:
        """Run an intake as a worker of this name would; `before` runs before each handling.

        It is killed between committing the event `dies_after` and removing it.
        """

        async def die(message: Message) -> None:
            if message.request["event"]["id"] == dies_after:
                self.running[worker].cancel()
                await asyncio.sleep(0)

        python = Python({"triage": handle}, budget_ms=1000)
        python.before = before
        runtimes: dict[RuntimeName, Runtime] = {"python": python}
        dispatcher = Dispatching(self.registry, self.journal, runtimes, self.telemetry)
        dispatcher.after = die
        theirs = connect(self.joelclaw.url, "bridge")
        listener = connect(self.joelclaw.url, "bridge-intake", answer_s=None)
        self.clients += [theirs, listener]
        intake = Intake(
            worker,
            theirs,
            listener,
            self.quarantine.put,
            Envelopes.load(),
            dispatcher,
            self.journal,
            self.telemetry,
            timeout_ms=10_000,
        )
        self.intakes[worker] = intake
        self.running[worker] = asyncio.create_task(intake.run())
        return intake

    async def kill(self, worker: str) -> None:
        """End a worker where it stands: nothing is given back, no lease is let go."""
        self.running[worker].cancel()
        await asyncio.gather(self.running.pop(worker), return_exceptions=True)

    async def end(self, worker: str) -> None:
        """End a worker as a signal does."""
        self.intakes[worker].close()
        await self.running.pop(worker)

    async def push(self, *events: dict[str, Any] | bytes, session: str = "gateway") -> None:
        """Push as joelclaw's services do, each with its doorbell."""
        for item in events:
            raw = item if isinstance(item, bytes) else json.dumps(item).encode()
            await self.theirs.lpush(f"joelclaw:events:{session}", raw)
            await self.theirs.publish(f"joelclaw:notify:{session}", "{}")

    async def received(self) -> list[str]:
        """Return the ids of the events in the journal, in order of commit."""
        entries = await self.journal.entries("triage", count=10_000)
        return [entry["request"]["event"]["id"] for _, entry in entries]

    async def waiting(self) -> list[str]:
        """Return the ids that wait in joelclaw's list, the oldest first."""
        items: Any = await self.theirs.lrange(LIST, 0, -1)
        return [json.loads(item)["id"] for item in reversed(items)]

    async def in_flight(self, worker: str) -> list[bytes]:
        found: Any = await self.theirs.lrange(IN_FLIGHT + worker, 0, -1)
        return list(found)

    async def until_quarantined(self) -> Quarantined:
        """Return the one item of the quarantine, as soon as it is there."""
        await until(self.quarantine.count, "an item is in the quarantine")
        (item,) = await self.quarantine.list()
        return item

    async def until_received(self, count: int) -> list[str]:
        async def enough() -> bool:
            try:
                return len(await self.received()) >= count
            except BridgeError:  # Redis is away
                return False

        await until(enough, f"{count} events are in the journal")
        return await self.received()


@asynccontextmanager
async def world(*, taken: bool = True) -> AsyncIterator[World]:
    with RedisServer() as joelclaw, RedisServer() as own:
        theirs, quarantine_redis = connect(joelclaw.url, "test"), connect(own.url, "bridge")
        journal = RedisJournal(own.url)
        made = World(joelclaw, own, theirs, journal, Quarantine(quarantine_redis))
        contract = made.registry.get("triage")
        await journal.ensure_route("triage", contract.owner, contract.fallback)
        if taken:
            await take(theirs)
        try:
            yield made
        finally:
            for worker in list(made.running):
                await made.kill(worker)
            await journal.close()
            for client in (theirs, quarantine_redis, *made.clients):
                await client.aclose()


def run(test: Callable[[World], Awaitable[None]], **options: Any) -> None:
    """Run a test in a world of its own, within the deadline."""

    async def within() -> None:
        async with asyncio.timeout(2 * DEADLINE_S), world(**options) as made:
            await test(made)

    uvloop.run(within())
