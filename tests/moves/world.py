"""Two implementations of one contract, a dispatcher between them, and a move."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bridge.contracts.registry import Registry
from bridge.dispatch import Dispatcher
from bridge.errors import RuntimeUnavailable
from bridge.journal.memory import MemoryJournal
from bridge.message import Invocation, Judge, Message, Outcome, RuntimeName
from bridge.mover import Mover, Order
from bridge.runtimes.python import Handler, PythonRuntime
from bridge.runtimes.runtime import Runtime, unjudged
from bridge.shadow import Shadow
from bridge.telemetry import Telemetry
from tests.subsystems.counter.counter import handle as counter

SUBSYSTEMS = Path(__file__).parents[1] / "subsystems"


class Candidate:
    """Another runtime in the same process; `pause` is waited for before each answer."""

    name: RuntimeName = "elixir"

    def __init__(self, handler: Handler) -> None:
        self.inner = PythonRuntime({"counter": handler}, budget_ms=200)
        self.here = True
        self.gone = False  # while it is asked
        self.calls: list[Invocation] = []
        self.pause: Callable[[], Awaitable[None]] | None = None

    def available(self, subsystem: str) -> bool:
        return self.here

    async def handle(self, invocation: Invocation, judge: Judge = unjudged) -> Outcome:
        self.calls.append(invocation)
        if self.pause is not None:
            await self.pause()
        if self.gone:
            raise RuntimeUnavailable("elixir", "the link closed")
        return await self.inner.handle(invocation, judge)


class World:
    """A dispatcher with its shadow and its mover, on a journal in memory."""

    def __init__(self, candidate: Handler = counter, owner: Handler = counter) -> None:
        self.now_ms = 1_000_000
        self.registry = Registry.load(SUBSYSTEMS)
        self.journal = MemoryJournal(clock=lambda: self.now_ms)
        self.owner = PythonRuntime({"counter": owner}, budget_ms=200)
        self.candidate = Candidate(candidate)
        runtimes: dict[RuntimeName, Runtime] = {"python": self.owner, "elixir": self.candidate}
        self.telemetry = Telemetry()
        self.shadow = Shadow(self.journal, runtimes, self.telemetry, per_second=10**9)
        self.mover = Mover(
            self.registry,
            self.journal,
            runtimes,
            lambda: {"counter": ["python", "elixir"]},
            self.telemetry,
        )
        self.noted: list[str] = []
        self.shadow.noted = self.noted.append
        self.dispatcher = Dispatcher(
            self.registry, self.journal, runtimes, self.telemetry, watch=self.shadow
        )
        self.sent = 0

    async def start(self, plan: str = "shadow:20,canary:50,100", **more: Any) -> dict[str, Any]:
        return await self.order("start", to="elixir", plan=plan, **more)

    async def order(self, event: str, **more: Any) -> dict[str, Any]:
        return await self.mover.order("counter", Order(event, **{"by": "ann", **more}))

    async def add(self, n: int = 1, key: str = "k", id: str = "") -> Any:
        self.sent += 1
        tag = {"tag": f"t{self.sent}"}
        message = Message(id or f"m{self.sent}", "counter", key, "add", {"n": n, **tag})
        return await self.dispatcher.dispatch(message, timeout_ms=2000)

    async def total(self, key: str = "k") -> int:
        self.sent += 1
        message = Message(f"q{self.sent}", "counter", key, "total", {})
        reply = await self.dispatcher.dispatch(message, timeout_ms=2000)
        return int(reply["total"])

    async def settled(self) -> dict[str, Any]:
        """Return the status once every run behind what was answered is done and written."""
        lanes = self.shadow._lanes.values()
        while tasks := [task for lane in lanes for task in lane.under_way]:
            await asyncio.wait(tasks)
        await self.shadow.flush()
        return await self.mover.status("counter")

    async def judged(self) -> dict[str, Any]:
        """Return the status once the evidence there is was acted on."""
        await self.settled()
        await self.mover.judge("counter")
        return await self.mover.status("counter")


def run(test: Callable[[World], Awaitable[None]], candidate: Handler = counter) -> None:
    async def main() -> None:
        world = World(candidate)
        await world.journal.ensure_route("counter", "python", None)
        await test(world)

    asyncio.run(main())
