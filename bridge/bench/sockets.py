"""Queries over WebSocket against a bare echo, and what an idle connection takes."""

from __future__ import annotations

import asyncio

from bridge.bench.figures import Figure, compare
from bridge.bench.processes import Load, allow_descriptors, echo, load, redis, rss_bytes, worker

TURNS = 5
TURN_S = 1.5
CONNECTIONS = 8
WINDOW = 16  # queries under way on each connection
IDLE = 2_000
WARM = 100  # connections opened first, so that what is shared is there already

TOPIC = "bench:one"
JOIN = f'["1","1","{TOPIC}","phx_join",{{}}]'
QUERY = f'["1","2","{TOPIC}","read",{{}}]'


async def query() -> list[Figure]:
    """Compare the rates of a query to the Python runtime and of an echo of the same bytes."""
    async with (
        redis() as redis_url, worker(redis_url) as (bridge_url, _), echo() as (echo_url, _),
        load() as on_bridge, load() as on_echo,
    ):  # fmt: skip
        for process, url in ((on_bridge, bridge_url), (on_echo, echo_url)):
            await _open(process, url, CONNECTIONS, WINDOW)
            await process.ask(run=TURN_S)
        turns = []
        for _ in range(TURNS):
            subject = await on_bridge.ask(run=TURN_S)
            peer = await on_echo.ask(run=TURN_S)
            turns.append((subject["rate"], peer["rate"]))
        return [compare("query over WebSocket, Python runtime", turns, "/s", "at least 0.5")]


async def connections() -> list[Figure]:
    """Measure the resident memory of a worker, and of an echo, per idle connection."""
    allow_descriptors(2 * IDLE)
    async with (
        redis() as redis_url, worker(redis_url) as (bridge_url, bridge_pid),
        echo() as (echo_url, echo_pid), load() as process,
    ):  # fmt: skip
        subject = await _per_connection(process, bridge_url, bridge_pid)
        peer = await _per_connection(process, echo_url, echo_pid)
        return [
            Figure(
                f"idle connection joined to one topic, of {IDLE:,}", f"{subject / 1000:.1f} kB",
                f"{peer / 1000:.1f} kB", subject / peer, "30 kB or less",
            )
        ]  # fmt: skip


async def _per_connection(process: Load, url: str, pid: int) -> float:
    await _open(process, url, WARM, 1)
    before = await asyncio.to_thread(rss_bytes, pid)
    await _open(process, url, IDLE, 1)
    grown = await asyncio.to_thread(rss_bytes, pid) - before
    await process.ask(close=True)
    return grown / IDLE


async def _open(process: Load, url: str, count: int, window: int) -> None:
    await process.ask(
        open={"url": url, "count": count, "hello": [JOIN], "frame": QUERY, "window": window}
    )
