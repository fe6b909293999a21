"""Queries over WebSocket against a bare echo, and what an idle connection takes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from bridge.bench.figures import Figure, compare
from bridge.bench.processes import Load, allow_descriptors, echo, load, redis, rss_bytes, worker
from bridge.message import JSON

TURNS = 5
TURN_S = 1.5
CONNECTIONS = 8
WINDOW = 16  # queries under way on each connection
IDLE = 2_000
IDS = [f"query-{n}" for n in range(WINDOW)]
WARM = 100  # connections opened first, so that what is shared is there already


async def query() -> list[Figure]:
    """Compare the rates of queries to the Python runtime and of an echo of the same bytes.

    First all ask the same, so that those which come together are computed once; then each has
    a message id of its own and each connection its key, so that nothing is shared.
    """
    name = "query over WebSocket, Python runtime"
    alike = ["one"] * CONNECTIONS
    apart = [f"key-{n}" for n in range(CONNECTIONS)]
    async with (
        redis() as redis_url,
        worker(redis_url) as (bridge_url, _),
        echo() as (echo_url, _),
        load() as on_bridge,
        load() as on_echo,
    ):
        figures = []
        for what, keys, ids in (("alike", alike, [""]), ("each its own", apart, IDS)):
            for process, url in ((on_bridge, bridge_url), (on_echo, echo_url)):
                for key in keys:
                    await _open(process, url, 1, WINDOW, key, ids)
                await process.ask(run=TURN_S)
            turns = []
            for _ in range(TURNS):
                subject = await on_bridge.ask(run=TURN_S)
                peer = await on_echo.ask(run=TURN_S)
                turns.append((subject["rate"], peer["rate"]))
            figures.append(compare(f"{name}, {what}", turns, "/s", "at least 0.5"))
            for process in (on_bridge, on_echo):
                await process.ask(close=True)
        return figures


async def connections() -> list[Figure]:
    """Measure the resident memory of a worker, and of an echo, per idle connection."""
    allow_descriptors(2 * IDLE)
    async with (
        redis() as redis_url,
        worker(redis_url) as (bridge_url, bridge_pid),
        echo() as (echo_url, echo_pid),
        load() as process,
    ):
        subject = await _per_connection(process, bridge_url, bridge_pid)
        peer = await _per_connection(process, echo_url, echo_pid)
        return [
            Figure(
                f"idle connection joined to one topic, of {IDLE:,}",
                f"{subject / 1000:.1f} kB",
                f"{peer / 1000:.1f} kB",
                subject / peer,
                "30 kB or less",
            )
        ]


async def _per_connection(process: Load, url: str, pid: int) -> float:
    await _open(process, url, WARM, 1)
    before = await asyncio.to_thread(rss_bytes, pid)
    await _open(process, url, IDLE, 1)
    grown = await asyncio.to_thread(rss_bytes, pid) - before
    await process.ask(close=True)
    return grown / IDLE


async def _open(
    process: Load, url: str, count: int, window: int, key: str = "one", ids: Sequence[str] = ("",)
) -> None:
    hello = ["1", "1", f"bench:{key}", "phx_join", {}]
    frames = [["1", "2", f"bench:{key}", "read", {"message_id": id} if id else {}] for id in ids]
    await process.ask(
        open={
            "url": url,
            "count": count,
            "hello": [_text(hello)],
            "frames": list(map(_text, frames)),
            "window": window,
        }
    )


def _text(frame: list[JSON]) -> str:
    return json.dumps(frame, separators=(",", ":"))
