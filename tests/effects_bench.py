"""Effects over the in-memory journal, with an executor that fails when told to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from bridge.contracts.registry import Registry
from bridge.dispatch import Dispatcher
from bridge.effects import Effects
from bridge.journal.memory import MemoryJournal
from bridge.journal.values import OutboxEntry
from bridge.message import Message, RuntimeName
from bridge.runtimes.python import PythonRuntime
from bridge.runtimes.runtime import Runtime
from bridge.targets import EffectFailed, Executor, TargetAway
from bridge.telemetry import Telemetry
from tests.deadline import until
from tests.subsystems.counter.counter import handle as counter

SUBSYSTEMS = Path(__file__).parent / "subsystems"
ATTEMPTS = 3
LEASE_MS = 10_000


class Inbox:
    """Executes effects; `failure` says how one fails, None if it does not, `away` that all do."""

    def __init__(self, together: int = 1) -> None:
        self.together = together
        self.away: TargetAway | None = None
        self.calls: list[list[str]] = []
        self.asked: list[str] = []
        self.taken: list[OutboxEntry] = []
        self.failure: Callable[[str], EffectFailed | None] = lambda id: None

    @property
    def ids(self) -> list[str]:
        return [entry.id for entry in self.taken]

    async def __call__(self, entries: Sequence[OutboxEntry]) -> None:
        self.calls.append([entry.id for entry in entries])
        self.asked += self.calls[-1]
        if self.away is not None:
            raise self.away
        for entry in entries:
            failure = self.failure(entry.id)
            if failure is not None:
                raise failure
        self.taken += entries


NOT_NOW = EffectFailed("not now")


def failing(id: str, how: EffectFailed = NOT_NOW) -> Callable[[str], EffectFailed | None]:
    return lambda asked: how if asked == id else None


class Bench:
    """Dispatcher, journal and effects; `now_ms` is the journal's clock."""

    def __init__(self, journal: type[MemoryJournal] = MemoryJournal) -> None:
        self.now_ms = 1_000_000
        self.inbox = Inbox()
        self.journal = journal(clock=lambda: self.now_ms)
        self.telemetry = Telemetry()
        self.runtimes: dict[RuntimeName, Runtime] = {
            "python": PythonRuntime({"counter": counter}, budget_ms=100)
        }
        self.dispatcher = Dispatcher(
            Registry.load(SUBSYSTEMS),
            self.journal,
            self.runtimes,
            self.telemetry,
            committed=lambda name: self.effects.kick(name),
        )
        self.executors: dict[str, Executor] = {"inngest": self.inbox}
        self.effects = Effects(
            self.journal,
            self.dispatcher,
            self.executors,
            ["counter"],
            self.telemetry,
            None,
            lease_ms=LEASE_MS,
            attempts=ATTEMPTS,
            timeout_ms=2000,
        )

    async def send(self, id: str, operation: str, request: Any, key: str = "k") -> Any:
        message = Message(id, "counter", key, operation, request)
        return await self.dispatcher.dispatch(message, timeout_ms=2000)

    async def later(self, ms: int) -> None:
        """Let time pass; effects and timers that are due by then are looked for at once."""
        self.now_ms += ms
        self.effects.kick("counter")

    async def asked(self, count: int) -> list[str]:
        await until(lambda: len(self.inbox.asked) >= count)
        return self.inbox.asked

    async def taken(self, count: int) -> list[str]:
        await until(lambda: len(self.inbox.taken) >= count)
        return self.inbox.ids

    async def failed(self, times: int, name: str = "effect_failed") -> None:
        await until(lambda: self.count(name) == times)

    async def done(self, effects: int) -> None:
        """Wait until so many left the outbox: a receiver has an effect a moment before."""
        await until(lambda: self.count("effect_done") == effects)

    def count(self, name: str) -> int:
        return sum(n for text, n in self.telemetry.counts().items() if text.startswith(name))

    async def waiting(self) -> list[OutboxEntry]:
        return await self.journal.outbox("counter")


def run(
    test: Callable[[Bench], Awaitable[None]], journal: type[MemoryJournal] = MemoryJournal
) -> None:
    async def main() -> None:
        bench = Bench(journal)
        await bench.journal.set_route("counter", "python", None)
        work = asyncio.create_task(bench.effects.run())
        try:
            await test(bench)
            assert not work.done()
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    asyncio.run(main())
