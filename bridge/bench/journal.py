"""What the journal costs of memory, where a state is large and changes a little."""

from __future__ import annotations

from bridge.bench.figures import Figure
from bridge.bench.processes import redis
from bridge.canonical import canonical
from bridge.contracts.files import BUILT_IN
from bridge.contracts.registry import Registry
from bridge.dispatch import Dispatcher
from bridge.joelclaw import SUBSYSTEM
from bridge.journal.redis import RedisJournal
from bridge.message import Message
from bridge.redis.commands import connect
from bridge.runtimes.python import PythonRuntime
from bridge.subsystems import triage
from bridge.telemetry import Telemetry

EVENTS = 1_000


async def journal() -> list[Figure]:
    """Measure Redis's memory for each event of `triage` that remembers 1,000 ids; the peer is
    that state, which each entry would have whole.
    """
    registry = Registry.load(BUILT_IN)
    async with redis("no") as url:
        journal, control = RedisJournal(url), connect(url, "bench")
        try:
            await journal.ensure_route(SUBSYSTEM, "python", None)
            python = PythonRuntime({SUBSYSTEM: triage.handle}, budget_ms=1000)
            dispatcher = Dispatcher(registry, journal, {"python": python}, Telemetry())

            async def used(first: int) -> int:
                for n in range(first, first + EVENTS):
                    event = {"id": f"{n:032}", "type": "progress", "source": "bench"}
                    request = {
                        "event": {**event, "payload": {"n": n}, "ts": 1_800_000_000_000 + n}
                    }
                    message = Message(f"bench-{n}", SUBSYSTEM, "bench", "receive", request)
                    await dispatcher.dispatch(message, timeout_ms=10_000)
                return int((await control.info("memory"))["used_memory"])

            remembered = await used(0)
            an_event = (await used(EVENTS) - remembered) / EVENTS
            state = len(canonical((await journal.read(SUBSYSTEM, "bench")).state))
        finally:
            await control.aclose()
            await journal.close()
    name = f"Redis memory an event of triage, {EVENTS:,} ids remembered"
    return [
        Figure(name, f"{an_event:,.0f} B", f"{state:,} B", an_event / state, "3,000 B or less")
    ]
