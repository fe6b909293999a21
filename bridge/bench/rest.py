"""What a worker costs while nothing happens, with a few subsystems and with many."""

from __future__ import annotations

import asyncio
import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bridge.bench.figures import Figure
from bridge.bench.processes import SUBSYSTEMS, Load, load, redis, worker
from bridge.contracts.files import BUILT_IN
from bridge.redis.commands import connect

FEW, MANY = 4, 100
SETTLE_S = 4.0
MEASURE_S = 10.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What a second takes: commands of Redis, and milliseconds of its and the worker's time."""

    commands: float
    redis_ms: float
    worker_ms: float


async def rest() -> list[Figure]:
    """Compare a worker with 100 subsystems to one with 4: nobody connected, then one client
    that follows a topic of each.
    """
    figures = []
    async with load() as process:
        for who in ("no client", "a client each"):
            few = await _cost(FEW, process, follow=who != "no client")
            many = await _cost(MANY, process, follow=who != "no client")
            for what, unit, subject, peer in (
                ("Redis commands", "/s", many.commands, few.commands),
                ("CPU of Redis", "ms/s", many.redis_ms, few.redis_ms),
                ("CPU of the worker", "ms/s", many.worker_ms, few.worker_ms),
            ):
                name = f"{what}, {MANY} subsystems at rest, {who}"
                shown = f"{subject:,.1f} {unit}", f"{peer:,.1f} {unit}"
                figures.append(Figure(name, *shown, subject / peer, "at most 2"))
    return figures


async def _cost(count: int, process: Load, *, follow: bool) -> Cost:
    names = sorted(path.name for path in BUILT_IN.iterdir() if path.is_dir())
    with tempfile.TemporaryDirectory(prefix="bridge-bench-") as folder:
        more = [f"bench-{n}" for n in range(count - len(names))]
        _write(Path(folder), more)
        file = f"{folder}/implementations.json"
        given = {"contracts": folder if more else "", "implementations": file}
        async with redis() as redis_url, worker(redis_url, **given) as (url, pid):
            if follow:
                for name in (names + more)[:count]:
                    hello = json.dumps(["1", "1", f"{name}:one", "phx_join", {}])
                    await process.ask(
                        open={"url": url, "count": 1, "hello": [hello], "frames": [], "window": 1}
                    )
            cost = await _measure(redis_url, pid)
            await process.ask(close=True)
            return cost


def _write(folder: Path, names: list[str]) -> None:
    contract = json.loads((SUBSYSTEMS / "bench" / "subsystem.json").read_text())
    for name in names:
        (folder / name).mkdir()
        (folder / name / "subsystem.json").write_text(json.dumps({**contract, "name": name}))
    handlers = {name: {"python": "bridge.bench.handler:handle"} for name in names}
    (folder / "implementations.json").write_text(json.dumps(handlers))


async def _measure(redis_url: str, pid: int) -> Cost:
    async with connect(redis_url, "bench") as client:

        async def now() -> tuple[int, float, float]:
            info = await client.info("everything")
            used = info["used_cpu_user"] + info["used_cpu_sys"]
            return info["total_commands_processed"], used, cpu_s(pid)

        await asyncio.sleep(SETTLE_S)
        before = await now()
        await asyncio.sleep(MEASURE_S)
        commands, used_s, worked_s = (
            (b - a) / MEASURE_S for a, b in zip(before, await now(), strict=True)
        )
        return Cost(commands - 1 / MEASURE_S, used_s * 1000, worked_s * 1000)


def cpu_s(pid: int) -> float:
    """Return a process's CPU time, on Linux and macOS alike."""
    statistics = Path(f"/proc/{pid}/schedstat")
    if statistics.exists():  # of its main thread, where a worker works
        return int(statistics.read_text().split()[0]) / 1e9
    done = subprocess.run(
        ["ps", "-o", "time=", "-p", str(pid)], capture_output=True, text=True, check=True
    )
    minutes, seconds = done.stdout.strip().rsplit(":", 1)
    return 60 * float(minutes.rpartition(":")[2]) + float(seconds)
