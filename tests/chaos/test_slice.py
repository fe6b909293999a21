"""The thinnest whole: a tick through client, runtime, commit, outbox and sink."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest

from bridge.client import connected
from bridge.journal.redis import RedisJournal
from bridge.up.admin import fetch, served_by
from tests.chaos.process import ROOT, BridgeProcess, runtimes_here
from tests.chaos.sink import Sink
from tests.deadline import DEADLINE_S

NAMES = [
    "tasks/triage.requested",
    "sessions/prune.requested",
    "triggers/audit.requested",
    "system/health.requested",
    "memory/review.check",
    "vault/sync.check",
    "granola/check.requested",
    "email/triage.requested",
    "calendar/daily.check",
    "loops/stale.check",
]


def test_a_tick_has_one_reply_and_ten_effects_in_order_in_each_runtime() -> None:
    asyncio.run(_slice())


async def _slice() -> None:
    sink = Sink()
    await sink.start()
    bridge = BridgeProcess(inngest_url=sink.url, workers="1")
    try:
        await bridge.start()
        await _ticks(bridge, sink)
    finally:
        await bridge.stop()
        await sink.stop()
        left = bridge.leftovers()
        bridge.close()
    assert left == {}


async def _ticks(bridge: BridgeProcess, sink: Sink) -> None:
    journal = RedisJournal(bridge.redis_url)
    expected: list[tuple[str, str]] = []
    async with connected(bridge.url) as client:
        for runtime in runtimes_here():
            await _route(bridge, runtime)
            await _reachable(bridge, runtime)
            key = f"by-{runtime}"
            await client.join(f"heartbeat:{key}")
            reply = await client.push(f"heartbeat:{key}", "tick", {})
            assert reply == {"status": "ran", "events": 10}
            [(_, entry)] = await journal.entries("heartbeat", key=key)
            assert (entry["runtime"], entry["reason"]) == (runtime, "owner")
            now_ms = entry["context"]["now_ms"]
            expected += [(name, f"heartbeat/{entry['id']}/{name}") for name in NAMES]
            # A second tick comes too soon and has no effects, also in the next runtime.
            again = await client.push(f"heartbeat:{key}", "tick", {})
            due_ms = now_ms + 600_000
            assert again == {"status": "skipped", "reason": "too_soon", "next_ms": due_ms}
            status = await client.push(f"heartbeat:{key}", "status", {})
            assert status == {"last_ms": now_ms, "next_ms": due_ms, "runs": 1, "skipped": 1}
            got = await sink.wait_for(len(expected), DEADLINE_S)
            assert [(event["name"], event["id"]) for event in got] == expected
    assert all(event["data"] == {} for event in sink.accepted)
    async with asyncio.timeout(DEADLINE_S):
        while await journal.outbox("heartbeat"):  # noqa: ASYNC110 - Redis tells no event of it
            await asyncio.sleep(0.02)
    await journal.close()


async def _reachable(bridge: BridgeProcess, runtime: str) -> None:
    """Wait until the worker reaches the runtime: before, heartbeat's fallback stands in."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            status = await asyncio.to_thread(fetch, f"{bridge.url}/admin/status")
            if "heartbeat" in (served_by(status, runtime) or ()):
                return
            await asyncio.sleep(0.05)


async def _route(bridge: BridgeProcess, runtime: str) -> None:
    """Use the command line, as people do."""
    command = [sys.executable, "-m", "bridge", "route", "heartbeat", runtime]
    done: subprocess.CompletedProcess[Any] = await asyncio.to_thread(
        subprocess.run,
        command,
        cwd=ROOT,
        env=bridge.env,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    if done.returncode:
        pytest.fail(f"bridge route heartbeat {runtime}: {done.stdout}{done.stderr}")
