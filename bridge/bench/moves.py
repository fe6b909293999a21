"""What a move costs: routing one message, and a shadow whose candidate stands still."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import replace
from statistics import median

from bridge.attempt import bucket_of_message, whom_to_ask
from bridge.bench import handler
from bridge.bench.figures import Figure, compare
from bridge.bench.processes import SUBSYSTEMS, redis
from bridge.contracts.registry import Registry
from bridge.dispatch import Dispatcher
from bridge.journal.redis import RedisJournal
from bridge.journal.values import Route
from bridge.message import Invocation, Judge, Message, Outcome, RuntimeName
from bridge.runtimes.python import PythonRuntime
from bridge.runtimes.runtime import Runtime, unjudged
from bridge.shadow import Shadow
from bridge.telemetry import Telemetry

TURNS = 9
PER_TURN = 400
ROUTED = 200_000
TIMEOUT_MS = 5000


class StandsStill:
    """A candidate that is asked and never answers, as a process after SIGSTOP."""

    name: RuntimeName = "elixir"

    def available(self, subsystem: str) -> bool:
        return True

    async def handle(self, invocation: Invocation, judge: Judge = unjudged) -> Outcome:
        await asyncio.Event().wait()
        raise AssertionError("it never comes here")


async def moves() -> list[Figure]:
    """Measure routing alone, and 99th percentiles of commands with and without a shadow."""
    registry = Registry.load(SUBSYSTEMS)
    return [*_routing(registry), await _stopped(registry)]


def _routing(registry: Registry) -> list[Figure]:
    contract = registry.get("bench")
    steady = Route("bench", "python", "python", 1, 0)
    canary = replace(steady, phase="canary", candidate="elixir", share=50)
    message = Message("0a0f8b9e-4a76-4c35-8a1c-6f0b7a3f5d11", "bench", "one", "write", {})
    figures = []
    for name, route, goal in (("steady", steady, "below 5"), ("canary", canary, "-")):
        started = time.perf_counter()
        for _ in range(ROUTED):
            bucket = bucket_of_message(contract, message) if route.share else 100
            whom_to_ask(route, bucket, None)
        us = (time.perf_counter() - started) / ROUTED * 1e6
        figures.append(Figure(f"routing of one message, {name}", f"{us:.2f} µs", "-", None, goal))
    return figures


async def _move(journal: RedisJournal, route: Route) -> None:
    epoch = (await journal.moves.standing(route.subsystem)).route.epoch + 1
    await journal.moves.change(replace(route, epoch=epoch), {"id": "1"}, {})


async def _stopped(registry: Registry) -> Figure:
    contract = registry.get("bench")
    async with redis() as url:
        journal = RedisJournal(url)
        shadow = None
        try:
            route = await journal.ensure_route("bench", contract.owner, contract.fallback)
            python = PythonRuntime({"bench": handler.handle}, budget_ms=250)
            runtimes: dict[RuntimeName, Runtime] = {"python": python, "elixir": StandsStill()}
            watch = Shadow(journal, runtimes, Telemetry())
            shadow = asyncio.create_task(watch.run())
            dispatcher = Dispatcher(registry, journal, runtimes, Telemetry(), watch=watch)
            ids = itertools.count()

            async def p99_us() -> float:
                took = []
                for _ in range(PER_TURN):
                    message = Message(f"m{next(ids)}", "bench", "one", "write", {"pad": "x"})
                    started = time.perf_counter()
                    await dispatcher.dispatch(message, timeout_ms=TIMEOUT_MS)
                    took.append((time.perf_counter() - started) * 1e6)
                return sorted(took)[PER_TURN * 99 // 100]

            turns, plain = [], []
            for turn in range(TURNS + 1):
                before = await p99_us()
                await _move(journal, replace(route, phase="shadow", candidate="elixir"))
                with_shadow = await p99_us()
                await _move(journal, route)
                again = await p99_us()
                if turn:  # the first one warms up
                    turns.append((with_shadow, before))
                    plain.append(again / before)
        finally:
            if shadow is not None:
                shadow.cancel()
            await journal.close()
    goal = f"as without twice: {median(plain):.2f}, {min(plain):.2f} to {max(plain):.2f}"
    return compare("p99 of a command, shadow of a candidate that stands still", turns, "µs", goal)
