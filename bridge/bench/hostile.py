"""What others notice while a worker is attacked, and while it hands out a burst of events.

Attacker, worker, Redis and the others share one machine here, so the attacker runs at the lowest
priority, and what it got rid of in a second stands with each figure.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

from bridge.bench.attacks import ATTACKS, Attack
from bridge.bench.figures import Figure, compare
from bridge.bench.processes import (
    CannotMeasure,
    allow_descriptors,
    free_port,
    load,
    redis,
    worker,
)
from bridge.client import connected

SECONDS = 60.0
TURNS = 3
BYSTANDERS = 8
EVERY_S = 0.02  # a bystander asks
SETTLE_S = 0.5
GOAL = "at most 3, none lost"

SUBSCRIBERS = 3_000
EVENTS = 500
BURSTS = 3
DELIVERED_S = 120.0


async def hostile(seconds: float = SECONDS) -> list[Figure]:
    """Compare bystanders' p99 under each attack, so many seconds in all, with theirs without."""
    figures = []
    for name, attack in ATTACKS.items():
        print(f"  attack: {name} …", file=sys.stderr, flush=True)
        figures.append(await _attacked(name, attack, seconds))
    return figures


async def fanout() -> list[Figure]:
    """Commit bursts of events to thousands of subscribers, with a client of another topic."""
    allow_descriptors(2 * SUBSCRIBERS + 200)
    async with (
        redis() as redis_url,
        worker(redis_url) as (url, _),
        load() as subscribers,
        load() as bystander,
    ):
        await subscribers.ask(open=_joined(url, SUBSCRIBERS, "burst"))
        await bystander.ask(open=_joined(url, 1, "other"))
        waits, lasts = [], []
        async with connected(url) as client:
            await client.join("bench:burst")
            for _ in range(BURSTS):
                base = await bystander.ask(time=2.0, every=0.0)
                frames = SUBSCRIBERS * EVENTS
                delivered = asyncio.create_task(
                    subscribers.ask(expect=frames, within=DELIVERED_S)
                )
                asked = asyncio.create_task(bystander.ask(time=5.0, every=0.0))
                await asyncio.sleep(SETTLE_S)
                started = time.monotonic()
                await client.push("bench:burst", "burst", {"events": EVENTS}, timeout_s=60)
                if not (await delivered)["all"]:
                    raise CannotMeasure(f"not all delivered within {DELIVERED_S:g} s")
                lasts.append(time.monotonic() - started)
                waits.append(((await asked)["longest"] * 1e3, base["longest"] * 1e3))
    what = f"{EVENTS} events to {SUBSCRIBERS:,} subscribers"
    longest = compare(f"{what}: another client's longest wait", waits, "ms", "at most 100 ms")
    last_s = sorted(lasts)[len(lasts) // 2]
    return [longest, Figure(f"{what}: the last delivery", f"{last_s:.1f} s", "", None, "")]


async def _attacked(name: str, attack: Attack, seconds: float) -> Figure:
    turns, rates, lost = [], list[float](), False
    async with (
        redis() as redis_url,
        _target(redis_url) as (url, pid, addresses),
        load() as bystanders,
    ):
        for n in range(BYSTANDERS):
            await bystanders.ask(open=_joined(url, 1, f"bystander-{n}"))
        await bystanders.ask(time=1.0, every=EVERY_S)
        for _ in range(TURNS):
            base = await bystanders.ask(time=max(1.0, seconds / TURNS / 4), every=EVERY_S)
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "bridge.bench.attacker",
                name,
                addresses[attack.where],
                stdout=asyncio.subprocess.PIPE,
            )
            try:
                await asyncio.sleep(SETTLE_S)
                under = await bystanders.ask(time=seconds / TURNS, every=EVERY_S)
            finally:
                process.kill()
                said, _ = await process.communicate()
            rates.append(_rate(said.decode()))
            lost = lost or under["lost"] or not _alive(pid)
            if lost:
                break
            turns.append((under["p99"] * 1e6, base["p99"] * 1e6))
            await asyncio.sleep(SETTLE_S)
    title = f"others' p99 under {name}, {median(rates):,.2f} MB/s"
    return (
        Figure(title, "worker lost", "", None, GOAL)
        if lost
        else compare(title, turns, "µs", GOAL)
    )


@asynccontextmanager
async def _target(redis_url: str) -> AsyncIterator[tuple[str, int, dict[str, str]]]:
    """Run a worker with all its doors open; yield its URL, its pid and where each door is."""
    with tempfile.TemporaryDirectory(prefix="bridge-") as folder:
        terminal = str(free_port())
        settings = {"terminal_port": terminal, "link_dir": folder}
        async with worker(redis_url, **settings) as (url, pid):
            port = url.split(":")[2].partition("/")[0]
            [link] = os.listdir(folder)
            doors = {"http": port, "socket": port, "terminal": terminal}
            yield url, pid, {**doors, "link": str(Path(folder, link))}


def _joined(url: str, count: int, key: str) -> dict[str, Any]:
    topic = f"bench:{key}"
    hello, ask = ["1", "1", topic, "phx_join", {}], ["1", "2", topic, "read", {}]
    return {
        "url": url,
        "count": count,
        "hello": [json.dumps(hello)],
        "frames": [json.dumps(ask)],
        "window": 1,
    }


def _rate(said: str) -> float:
    """Return the MB per second that the attacker says it sent."""
    whole = said.split("\n")[:-1]  # it was killed while it wrote the last one
    if not whole:
        raise CannotMeasure("the attacker did not start")
    sent, seconds = whole[-1].split()
    return int(sent) / float(seconds) / 1e6


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIG_DFL)  # asks only
    except ProcessLookupError:
        return False
    return True
