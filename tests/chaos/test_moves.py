"""A candidate that stands still: in a shadow nobody notices, in a canary it is taken back."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time
from typing import Any

import pytest

from bridge.client import connected
from bridge.up.admin import fetch, put, served_by
from tests.chaos.process import ROOT, BridgeProcess, runtimes_here
from tests.deadline import DEADLINE_S

SUBSYSTEMS = ROOT / "tests" / "subsystems"
KEYS = ("a", "b", "c")


class Load:
    """Clients that add without a pause, and how long each answer took."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.sent = 0
        self.took_s: list[float] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._add(key)) for key in KEYS]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _add(self, key: str) -> None:
        async with connected(self.url) as client:
            await client.join(f"counter:{key}")
            for n in itertools.count():
                began = time.monotonic()
                # An error reply would end this task, and with it the test.
                await client.push(f"counter:{key}", "add", {"n": 1, "tag": f"{n}"}, 20)
                self.took_s.append(time.monotonic() - began)
                self.sent += 1
                await asyncio.sleep(0.005)

    async def more(self, count: int) -> None:
        """Wait until so many more are answered."""
        wanted = self.sent + count
        async with asyncio.timeout(4 * DEADLINE_S):
            while self.sent < wanted:
                for task in self._tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.02)


async def order(bridge: BridgeProcess, **body: Any) -> Any:
    return await asyncio.to_thread(
        put, f"{bridge.url}/admin/moves/counter", "", {"by": "test", **body}
    )


async def until(bridge: BridgeProcess, phase: str) -> Any:
    async with asyncio.timeout(4 * DEADLINE_S):
        while True:
            status = await asyncio.to_thread(fetch, f"{bridge.url}/admin/moves/counter")
            if status["phase"] == phase:
                return status
            await asyncio.sleep(0.05)


@pytest.mark.skipif("elixir" not in runtimes_here(), reason="no Elixir here")
def test_a_candidate_that_is_stopped_costs_no_client_an_error() -> None:
    asyncio.run(_stopped())


async def _stopped() -> None:
    bridge = BridgeProcess(
        contracts=str(SUBSYSTEMS),
        implementations=str(SUBSYSTEMS / "implementations.json"),
        workers="2",
    )
    try:
        await bridge.start()
        async with asyncio.timeout(4 * DEADLINE_S):
            while True:
                status = await asyncio.to_thread(fetch, f"{bridge.url}/admin/status")
                if "counter" in (served_by(status, "elixir") or ()):
                    break
                await asyncio.sleep(0.05)
        [beam] = [pid for pid, kind in bridge.processes().items() if kind == "beam"]
        async with Load(bridge.url) as load:
            await load.more(100)
            await order(bridge, event="start", to="elixir", plan="shadow:100000,canary:50")
            await load.more(50)
            os.kill(beam, signal.SIGSTOP)
            before = len(load.took_s)
            await load.more(200)
            assert max(load.took_s[before:]) < DEADLINE_S / 4  # the owner's way is its own
            os.kill(beam, signal.SIGCONT)
            assert (await until(bridge, "shadow"))["owner"] == "python"
            await order(bridge, event="promote", anyway=True)
            await load.more(100)
            os.kill(beam, signal.SIGSTOP)
            stopped = time.monotonic()
            status = await until(bridge, "rolled_back")
            # The first sign is the first message that got no answer in its half of 5 s.
            assert time.monotonic() - stopped < 2.5 + 5 + 1
            assert (status["owner"], status["move"]["by"]) == ("python", "bridge")
            os.kill(beam, signal.SIGCONT)
            await load.more(100)
    finally:
        await bridge.stop()
        left = bridge.leftovers()
        logs = bridge.logs()
        bridge.close()
    assert left == {}, logs
