"""One clock for all: Redis's. A worker whose own is an hour off decides nothing by it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from bridge.contracts.registry import Registry
from bridge.dispatch import Dispatcher
from bridge.effects import Effects
from bridge.journal.redis import RedisJournal
from bridge.message import Message
from bridge.runtimes.python import PythonRuntime
from bridge.telemetry import Telemetry
from tests.deadline import until
from tests.redis_server import RedisServer
from tests.subsystems.counter.counter import handle as counter

SUBSYSTEMS = Path(__file__).parent / "subsystems"
HOUR_S = 3600


@pytest.mark.parametrize("off_s", [HOUR_S, -HOUR_S])
def test_a_worker_whose_clock_is_an_hour_off_commits_and_fires_by_that_of_redis(
    off_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda of=time.time: of() + off_s)
    monkeypatch.setattr(time, "time_ns", lambda of=time.time_ns: of() + off_s * 10**9)

    async def scenario(url: str) -> list[dict[str, Any]]:
        journal, telemetry = RedisJournal(url), Telemetry()
        await journal.ensure_route("counter", "python", None)
        python = PythonRuntime({"counter": counter}, budget_ms=250)
        dispatcher = Dispatcher(Registry.load(SUBSYSTEMS), journal, {"python": python}, telemetry)
        effects = Effects(
            journal,
            dispatcher,
            {},
            ["counter"],
            telemetry,
            None,
            lease_ms=10_000,
            attempts=3,
            timeout_ms=2000,
        )
        message = Message("m", "counter", "k", "later", {"after_ms": 1, "n": 7})
        await dispatcher.dispatch(message, timeout_ms=2000)
        work = asyncio.create_task(effects.run())
        fired = "committed{reason=owner,runtime=python,subsystem=counter}"
        await until(lambda: telemetry.counts().get(fired) == 2, "the timer fired")
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        entries = [entry for _, entry in await journal.entries("counter")]
        await journal.close()
        return entries

    with RedisServer() as server, redis.Redis.from_url(server.url) as control:
        before_ms = _now_ms(control)
        set_by, fired = asyncio.run(scenario(server.url))
        after_ms = _now_ms(control)
    assert before_ms <= set_by["at_ms"] < fired["at_ms"] <= after_ms
    assert fired["context"]["now_ms"] == fired["at_ms"]
    assert fired["context"]["deadline_ms"] <= after_ms + 2000


def _now_ms(control: redis.Redis) -> int:
    seconds, microseconds = control.time()
    return int(seconds) * 1000 + int(microseconds) // 1000
