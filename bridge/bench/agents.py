"""A thousand agent loops of ten steps, whose activities answer at once, beside a plain chain.

What is measured is what a step costs beside its activity: the call, its claim, and the commit of
what came of it.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from bridge.activities.activity import Attempt, NotRetryable, Queued
from bridge.bench.figures import Figure
from bridge.bench.processes import START_S, CannotMeasure, redis
from bridge.call_effects import Calls
from bridge.contracts.files import CONTRACTS
from bridge.contracts.implementations import load, python_handlers
from bridge.contracts.registry import Registry
from bridge.dispatch import Dispatcher
from bridge.effects import Effects
from bridge.journal.redis import RedisJournal
from bridge.link.session import SessionLimits
from bridge.message import JSON, Message, RuntimeName
from bridge.runtimes.elixir import ElixirRuntime
from bridge.runtimes.node_links import NodeLinks
from bridge.runtimes.python import PythonRuntime
from bridge.runtimes.runtime import Runtime
from bridge.settings import Settings
from bridge.telemetry import Telemetry
from bridge.up import environment, programs
from bridge.up.programs import Command, Missing
from bridge.up.supervisor import Child, Program

LOOPS = 1000
STEPS = 10  # of a loop: of its second story the first tool fails
AT_ONCE = 64  # loops that are started at a time
TIMEOUT_MS = 60_000
EXAMPLES = CONTRACTS / "examples"
TRACE: dict[str, JSON] = {
    "plan": {"stories": [{"id": "a", "title": "one"}, {"id": "b", "title": "two"}]},
    "tests": {"tests": "12 tests"},
    "implement": {"commit": "abc123"},
    "review": {"review": "fine"},
    "judge": {"passed": True, "feedback": ""},
}


class AtOnce:
    """Activities that take no time."""

    def available(self, subsystem: str, activity: str) -> bool:
        return True

    def queued(self, attempt: Attempt) -> Queued | None:
        return None

    async def perform(self, attempt: Attempt) -> JSON:
        return answer(attempt.activity, attempt.request)


def answer(activity: str, request: JSON) -> JSON:
    """Return a step's reply. Raises NotRetryable where the second story is begun."""
    if activity == "implement" and (request["story"]["id"], request["tool"]) == ("b", "codex"):
        raise NotRetryable("not with this tool")
    return TRACE[activity]


async def agents() -> list[Figure]:
    """Run all loops in Python, in Elixir, and as functions that call each other."""
    chain_us = await _chain()
    figures = [await _loops("python", chain_us)]
    try:
        figures.append(await _loops("elixir", chain_us))
    except CannotMeasure as error:
        figures.append(Figure("agent loops in elixir", str(error), "-", None, "-"))
    return figures


async def _loops(owner: RuntimeName, chain_us: float) -> Figure:
    registry = Registry.load(EXAMPLES)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(redis())
        runtime: Runtime
        if owner == "elixir":
            runtime = await stack.enter_async_context(_node(registry))
        else:
            handlers = python_handlers(load(EXAMPLES / "implementations.json"), EXAMPLES)
            runtime = PythonRuntime(handlers, budget_ms=250)
        journal = RedisJournal(url)
        stack.push_async_callback(journal.close)
        await journal.set_route("agents", owner, None)
        telemetry = Telemetry()
        effects: Effects
        dispatcher = Dispatcher(
            registry,
            journal,
            {owner: runtime},
            telemetry,
            committed=lambda name: effects.kick(name),
        )
        performing = {"typescript": AtOnce()}
        calls = Calls(registry, journal, dispatcher, performing, telemetry, timeout_ms=TIMEOUT_MS)
        times = {"lease_ms": TIMEOUT_MS, "attempts": 3, "timeout_ms": TIMEOUT_MS}
        effects = Effects(journal, dispatcher, {}, ["agents"], telemetry, calls, **times)
        work = asyncio.create_task(effects.run())
        try:
            started, cpu = time.perf_counter(), time.process_time()
            await _start_all(dispatcher)
            await _ended(telemetry)
            took_s = time.perf_counter() - started
            cpu_s = time.process_time() - cpu
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
    ms = took_s / (LOOPS * STEPS) * 1000
    cpu_ms = cpu_s / (LOOPS * STEPS) * 1000
    return Figure(
        f"{LOOPS:,} agent loops of {STEPS} steps in {owner}: one step",
        f"{ms:.2f} ms, {cpu_ms:.2f} ms of them the worker's CPU",
        f"{chain_us:.2f} µs, in process",
        None,
        "-",
    )


async def _start_all(dispatcher: Dispatcher) -> None:
    room = asyncio.Semaphore(AT_ONCE)

    async def start(n: int) -> None:
        async with room:
            request = {"loop": "one", "goal": "a clock"}
            message = Message(f"start-{n}", "agents", f"project-{n}", "start", request)
            await dispatcher.dispatch(message, timeout_ms=TIMEOUT_MS)

    await asyncio.gather(*map(start, range(LOOPS)))


async def _ended(telemetry: Telemetry) -> None:
    """Return when every step has been told; each is done or, one of a loop, failed."""
    async with asyncio.timeout(TIMEOUT_MS / 1000):
        while _steps(telemetry) < LOOPS * STEPS:  # noqa: ASYNC110 - nobody sets an event
            await asyncio.sleep(0.01)


def _steps(telemetry: Telemetry) -> int:
    counts = telemetry.counts().items()
    return sum(n for name, n in counts if name.startswith(("call_done", "call_failed")))


async def _chain() -> float:
    """Return the µs of a step of the same chain as functions that call each other."""

    async def step(activity: str, request: JSON) -> JSON:
        return answer(activity, request)

    async def loop() -> None:
        plan = await step("plan", {"goal": "a clock"})
        for story in plan["stories"]:
            await step("tests", {"story": story})
            for tool in ("codex", "claude"):
                try:
                    await step("implement", {"story": story, "tool": tool})
                except NotRetryable:
                    continue
                await step("review", {"story": story})
                if (await step("judge", {"story": story}))["passed"]:
                    break

    started = time.perf_counter()
    await asyncio.gather(*(loop() for _ in range(LOOPS)))
    return (time.perf_counter() - started) / (LOOPS * STEPS) * 1e6


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-1500:]


@asynccontextmanager
async def _node(registry: Registry) -> AsyncIterator[ElixirRuntime]:
    """Start a node that implements the loop, linked to this process."""
    command = programs.elixir(programs.search_path())
    with tempfile.TemporaryDirectory(prefix="bb-") as folder:
        settings = replace(
            environment.absolute(Settings(dir=folder, contracts=str(EXAMPLES))),
            implementations=str(EXAMPLES / "implementations.json"),
            link_dir=folder,
        )
        shared = environment.shared(os.environ, settings)
        log = Path(folder, "node.log")
        if isinstance(command, Command):
            command = await programs.compiled(command, shared, log) or command
        if isinstance(command, Missing):
            raise CannotMeasure(command.reason)
        env = environment.of_node(settings, ["agents"]) | {"BRIDGE_NODE_WORKERS": "0"}
        runtime, telemetry = ElixirRuntime(), Telemetry()
        links = NodeLinks(
            "bench",
            runtime,
            registry.digests(),
            Path(folder, "bench.sock"),
            SessionLimits(),
            telemetry,
            lambda why: None,
        )
        links.admit()
        links.open_socket()
        child = Child(
            Program(
                "node",
                command.argv,
                cwd=command.cwd,
                log=log,
                env=shared | env,
                watches_stdin=True,
            )
        )
        child.start()
        try:
            deadline = time.monotonic() + START_S
            while not runtime.available("agents"):
                if time.monotonic() > deadline:
                    raise CannotMeasure(f"the node does not start:\n{_end_of(log)}")
                await asyncio.sleep(0.05)
            yield runtime
        finally:
            await child.stop(3)
            await links.close()
