"""A committed command against a SET of its state's bytes, at the same Redis."""

from __future__ import annotations

import itertools
import time
from statistics import median

from bridge.bench import handler
from bridge.bench.figures import Figure, compare
from bridge.bench.processes import SUBSYSTEMS, redis
from bridge.canonical import canonical
from bridge.contracts.registry import Registry
from bridge.dispatch import Dispatcher
from bridge.journal.redis import RedisJournal
from bridge.message import Message
from bridge.redis.address import Address
from bridge.redis.connection import connect
from bridge.runtimes.python import PythonRuntime
from bridge.telemetry import Telemetry

TURNS = 15
PER_TURN = 100
STATE_BYTES = 2_000


async def commit(appendfsync: str = "always") -> list[Figure]:
    """Compare medians, one at a time: command with a state of 2 kB and two effects, and SET."""
    registry = Registry.load(SUBSYSTEMS)
    contract = registry.get("bench")
    async with redis(appendfsync) as url:
        journal = RedisJournal(url)
        connection = await connect(Address.parse(url), timeout_s=5, max_pending=8)
        try:
            await journal.ensure_route("bench", contract.owner, contract.fallback)
            python = PythonRuntime({"bench": handler.handle}, budget_ms=250)
            dispatcher = Dispatcher(registry, journal, {"python": python}, Telemetry())
            ids = itertools.count()
            pad = "x" * (STATE_BYTES - len(canonical({"n": 1000, "pad": ""})))
            body = canonical({"n": 1000, "pad": pad})

            async def one_commit() -> None:
                message = Message(f"bench-{next(ids)}", "bench", "one", "write", {"pad": pad})
                await dispatcher.dispatch(message, timeout_ms=5000)

            async def one_set() -> None:
                await connection.send("SET", "joelclaw:bridge:bench-set", body)

            turns = []
            for turn in range(TURNS + 1):
                took_us: dict[str, list[float]] = {"commit": [], "set": []}
                for _ in range(PER_TURN):
                    for name, once in (("commit", one_commit), ("set", one_set)):
                        started = time.perf_counter()
                        await once()
                        took_us[name].append((time.perf_counter() - started) * 1e6)
                if turn:  # the first one warms up
                    turns.append((median(took_us["commit"]), median(took_us["set"])))
        finally:
            connection.close()
            await journal.close()
    name = f"committed command, {STATE_BYTES // 1000} kB, two effects, fsync {appendfsync}"
    return [compare(name, turns, "µs", "at most 3")]
