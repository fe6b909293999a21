"""Measure a changed contract under 10,000 live keys: `python -m tests.migration.figures`.

Each key gets two commands in a row, of which the first finds a state of the older version; so
both kinds wait in the same queues.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from bridge.client import connected
from bridge.table import table
from tests.migration.test_live import fill, folders
from tests.running import ALONE, Up, bridge

KEYS = 10_000
CLIENTS = 16


async def client(url: str, keys: list[str], waited: tuple[list[float], list[float]]) -> None:
    async with connected(url) as here:
        for key in keys:
            await here.join(f"ledger:{key}")
            for times in waited:
                begun = time.perf_counter()
                await here.push(f"ledger:{key}", "add", {"n": 1})
                times.append((time.perf_counter() - begun) * 1000)


async def load(url: str, keys: list[str]) -> list[list[object]]:
    """Return a row of milliseconds for commands that migrate, and for those that need not."""
    waited: tuple[list[float], list[float]] = [], []
    parts = [keys[n::CLIENTS] for n in range(CLIENTS)]
    await asyncio.gather(*(client(url, part, waited) for part in parts))
    rows: list[list[object]] = []
    for name, times in zip(("migrates", "as usual"), waited, strict=True):
        times.sort()
        at = [times[len(times) * part // 1000] for part in (500, 990, 999)]
        rows.append([name, len(times), *(f"{ms:.1f}" for ms in (*at, times[-1]))])
    return rows


def main() -> int:
    keys = [f"k{n:05}" for n in range(KEYS)]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with Up(directory, *folders("one"), **ALONE) as up:
            asyncio.run(fill(up.run["redis_url"], {key: 100 + n for n, key in enumerate(keys)}))
        begun = time.perf_counter()
        with Up(directory, *folders("two"), **ALONE, BRIDGE_MAX_TOPICS="1000") as up:
            started = time.perf_counter() - begun
            begun = time.perf_counter()
            live = bridge(directory, "contracts", "check", "--live", *folders("two"))
            looked = time.perf_counter() - begun
            print(live.stdout + live.stderr, f"\nup {started:.1f} s, check --live {looked:.1f} s")
            rows = asyncio.run(load(up.run["url"], keys))
    print(table(["command", "number", "median ms", "p99", "p99.9", "longest"], rows))
    return live.returncode


if __name__ == "__main__":
    sys.exit(main())
