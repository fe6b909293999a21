"""How many events of joelclaw's burst are handled: read as its daemon does, and by the intake."""

from __future__ import annotations

import asyncio

from bridge.bench.burst import Burst, ClassicReader
from bridge.bench.figures import Figure
from bridge.bench.processes import redis
from bridge.contracts.files import BUILT_IN
from bridge.contracts.registry import Registry
from bridge.dispatch import Dispatcher
from bridge.joelclaw import SUBSYSTEM
from bridge.joelclaw.envelopes import Envelopes
from bridge.joelclaw.intake.intake import Intake
from bridge.joelclaw.intake.takeover import intake_status, take
from bridge.joelclaw.quarantine import Quarantine
from bridge.journal.redis import RedisJournal
from bridge.message import Invocation, Judge, Outcome
from bridge.redis.commands import connect
from bridge.runtimes.python import PythonRuntime
from bridge.runtimes.runtime import unjudged
from bridge.subsystems.triage import handle
from bridge.telemetry import Telemetry

HANDLE_S = 0.005
SETTLE_S = 0.5


class Slow(PythonRuntime):
    """`triage` in Python, with the time joelclaw's daemon takes for an event."""

    async def handle(self, invocation: Invocation, judge: Judge = unjudged) -> Outcome:
        await asyncio.sleep(HANDLE_S)
        return await super().handle(invocation, judge)


async def intake() -> list[Figure]:
    """Send the same burst to both, each on a Redis of its own."""
    burst = Burst()
    async with redis() as url:
        classic = await _classic(url, burst)
    async with redis() as url:
        ours = await _ours(url, burst)
    name = f"events handled of joelclaw's burst of {burst.events:,}"
    goal = f"{burst.events:,} of {burst.events:,}"
    return [Figure(name, f"{ours:,} events", f"{classic:,} events", ours / classic, goal)]


async def _classic(url: str, burst: Burst) -> int:
    handled: set[str] = set()

    async def handle(id: str) -> None:
        await asyncio.sleep(HANDLE_S)
        handled.add(id)

    reader = ClassicReader(url, handle)
    reading = asyncio.create_task(reader.run())
    try:
        await asyncio.sleep(SETTLE_S)
        await burst.write(url)
        await _emptied(url)
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await reader.close()
    return len(handled)


async def _ours(url: str, burst: Burst) -> int:
    registry, telemetry = Registry.load(BUILT_IN), Telemetry()
    journal = RedisJournal(url)
    commands, listener = connect(url, "bridge"), connect(url, "bridge-intake", answer_s=None)
    contract = registry.get(SUBSYSTEM)
    await journal.ensure_route(SUBSYSTEM, contract.owner, contract.fallback)
    python = Slow({SUBSYSTEM: handle}, budget_ms=250)
    dispatcher = Dispatcher(registry, journal, {"python": python}, telemetry)
    intake = Intake(
        "bench",
        commands,
        listener,
        Quarantine(commands).put,
        Envelopes.load(),
        dispatcher,
        journal,
        telemetry,
        timeout_ms=10_000,
    )
    running = asyncio.create_task(intake.run())
    try:
        await take(commands)
        await asyncio.sleep(SETTLE_S)
        await burst.write(url)
        await _emptied(url)
        intake.close()
        await running
        return await _received(journal)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await journal.close()
        for client in (commands, listener):
            await client.aclose()


async def _received(journal: RedisJournal) -> int:
    """Count the events in the journal; one that is there twice counts once."""
    received: set[str] = set()
    after = ""
    while page := await journal.entries(SUBSYSTEM, after):
        received |= {entry["request"]["event"]["id"] for _, entry in page}
        after = page[-1][0]
    return len(received)


async def _emptied(url: str) -> None:
    """Wait until nothing changes: the classic reader leaves events that nobody rings for."""
    client = connect(url, "bench")
    before, left = -1, 0
    try:
        while left != before:
            before = left
            await asyncio.sleep(SETTLE_S)
            status = await intake_status(client)
            left = status.waiting + status.in_flight
    finally:
        await client.aclose()
