"""Calls over the in-memory journal, with activities that do as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bridge.activities.activity import Attempt, Queued
from bridge.call_effects import Calls
from bridge.contracts.registry import Registry
from bridge.dispatch import Dispatcher
from bridge.effects import Effects
from bridge.journal.memory import MemoryJournal
from bridge.message import JSON, Message, RuntimeName
from bridge.runtimes.python import PythonRuntime
from bridge.runtimes.runtime import Runtime
from bridge.telemetry import Telemetry
from tests.activities.subsystems.asker.asker import handle
from tests.deadline import until

SUBSYSTEMS = Path(__file__).parent / "subsystems"
REGISTRY = Registry.load(SUBSYSTEMS)


class Activities:
    """Notes what begins and what is cancelled; `perform` is what they do."""

    def __init__(self) -> None:
        self.there = True
        self.begun: list[Attempt] = []
        self.cancelled: list[str] = []
        self.act: Callable[[Attempt], Awaitable[JSON]] = echo

    def available(self, subsystem: str, activity: str) -> bool:
        return self.there

    def queued(self, attempt: Attempt) -> Queued | None:
        return None

    async def perform(self, attempt: Attempt) -> JSON:
        self.begun.append(attempt)
        try:
            return await self.act(attempt)
        except asyncio.CancelledError:
            self.cancelled.append(attempt.id)
            raise


async def echo(attempt: Attempt) -> JSON:
    return {"text": attempt.request["text"], "attempt": attempt.number}


async def hang(attempt: Attempt) -> JSON:
    await asyncio.Event().wait()


class Bench:
    """Dispatcher, journal, effects and calls of one worker; `now_ms` is the journal's clock."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000
        self.activities = Activities()
        self.journal = MemoryJournal(clock=lambda: self.now_ms)
        self.telemetry = Telemetry()
        runtimes: dict[RuntimeName, Runtime] = {
            "python": PythonRuntime({"asker": handle}, budget_ms=100)
        }
        self.dispatcher = Dispatcher(
            REGISTRY,
            self.journal,
            runtimes,
            self.telemetry,
            committed=self.kick,
        )
        self.workers: list[Effects] = []

    def kick(self, subsystem: str) -> None:
        for effects in self.workers:
            effects.kick(subsystem)

    def worker(self) -> Effects:
        calls = Calls(
            REGISTRY,
            self.journal,
            self.dispatcher,
            {"python": self.activities},
            self.telemetry,
            timeout_ms=2000,
        )
        effects = Effects(
            self.journal,
            self.dispatcher,
            {},
            ["asker"],
            self.telemetry,
            calls,
            lease_ms=10_000,
            attempts=3,
            timeout_ms=2000,
        )
        self.workers.append(effects)
        return effects

    async def send(self, id: str, operation: str, request: Any, key: str = "k") -> Any:
        message = Message(id, "asker", key, operation, request)
        return await self.dispatcher.dispatch(message, timeout_ms=2000)

    async def ask(self, message: str, text: str, to: str = "here", **more: Any) -> None:
        await self.send(message, "ask", {"to": to, "text": text, **more})

    async def told(self, count: int, key: str = "k") -> list[Any]:
        async def all_told() -> list[Any]:
            found: list[Any] = (await self.send("q", "all", {}, key))["told"]
            return found

        async def enough() -> bool:
            return len(await all_told()) >= count

        await until(enough, f"{count} were told")
        return await all_told()

    async def later(self, ms: int) -> None:
        """Let time pass for the journal; what is due by then is looked for at once."""
        self.now_ms += ms
        self.kick("asker")

    def count(self, name: str) -> int:
        return sum(n for text, n in self.telemetry.counts().items() if text.startswith(name))

    async def empty(self) -> None:
        """Wait until nothing of any call is left."""

        async def nothing() -> bool:
            left = [*await self.journal.outbox("asker"), *await self.journal.timers("asker")]
            return not left

        await until(nothing, "no call is left")


async def end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def run(test: Callable[[Bench], Awaitable[None]], *, workers: int = 1) -> None:
    async def main() -> None:
        bench = Bench()
        await bench.journal.set_route("asker", "python", None)
        work = [asyncio.create_task(bench.worker().run()) for _ in range(workers)]
        try:
            await test(bench)
            assert not any(task.done() for task in work)
        finally:
            await end(*work)

    asyncio.run(main())
