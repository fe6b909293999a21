"""What it costs a worker that many clients come back far behind."""

from __future__ import annotations

import asyncio
import contextlib

from bridge.bench import handler
from bridge.bench.figures import Figure
from bridge.bench.processes import SUBSYSTEMS, CannotMeasure, allow_descriptors, redis, worker
from bridge.bench.rest import cpu_s
from bridge.client import NotReached, connected
from bridge.contracts.registry import Registry
from bridge.dispatch import Dispatcher
from bridge.journal.redis import RedisJournal
from bridge.message import Message
from bridge.runtimes.python import PythonRuntime
from bridge.telemetry import Telemetry

CLIENTS = 1_000
EVENTS = 10  # of each client's key
CONNECTING = 100
WITHIN_S = 60.0
NAME = "bench"


async def rejoin() -> list[Figure]:
    """Measure the CPU of a worker while 1,000 clients, each of its own key, rejoin up to 10,000
    events back, from different positions.
    """
    allow_descriptors(2 * CLIENTS + 200)
    async with redis("no") as redis_url:
        positions = await _write(redis_url)
        async with worker(redis_url) as (url, pid):
            places = asyncio.Semaphore(CONNECTING)
            joined = asyncio.Barrier(CLIENTS)

            async def come_back(n: int) -> None:
                async with contextlib.AsyncExitStack() as stack:
                    async with places:
                        client = await stack.enter_async_context(connected(url))
                    await joined.wait()
                    topic, since = f"{NAME}:k{n}", {"since": positions[n]}
                    await client.join(topic, since, timeout_s=WITHIN_S)
                    for _ in range(EVENTS):
                        if await client.events.get() is None:
                            raise CannotMeasure("the worker hung up")

            before_s = cpu_s(pid)
            try:
                async with asyncio.timeout(WITHIN_S), asyncio.TaskGroup() as tasks:
                    for n in range(CLIENTS):
                        tasks.create_task(come_back(n))
            except* (TimeoutError, NotReached) as group:
                raise CannotMeasure(f"not all came back: {group.exceptions[0]!r}") from None
            used_s = cpu_s(pid) - before_s
    what = f"CPU of a worker, {CLIENTS:,} clients rejoin {CLIENTS * EVENTS:,} events back"
    return [Figure(what, f"{used_s:.1f} s", "", None, "below 10 s")]


async def _write(redis_url: str) -> list[str]:
    """Commit an event of each key, and again; return the position before all, and of each."""
    registry = Registry.load(SUBSYSTEMS)
    journal = RedisJournal(redis_url)
    try:
        await journal.ensure_route(NAME, "python", None)
        python = PythonRuntime({NAME: handler.handle}, budget_ms=1000)
        dispatcher = Dispatcher(registry, journal, {"python": python}, Telemetry())
        for round_ in range(EVENTS):
            for n in range(CLIENTS):
                message = Message(f"m{round_}-{n}", NAME, f"k{n}", "burst", {"events": 1})
                await dispatcher.dispatch(message, timeout_ms=10_000)
        found = ["0-0"]
        while events := await journal.events_after(NAME, found[-1]):
            found += [event.position for event in events]
        return found
    finally:
        await journal.close()
