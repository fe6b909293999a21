"""Round trips from the BEAM to Python and back, against ErlPort 0.11 where it is at hand."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from bridge.bench.figures import Figure, compare
from bridge.bench.processes import CannotMeasure
from bridge.up import programs
from bridge.up.programs import Missing

TURNS = 5
TURN_MS = 1_000
GOALS = {1: "at least 1", 64: "at least 2"}  # callers -> goal of the ratio
SCRIPT = Path(__file__).with_name("link.exs")
ECHO_FOLDER = Path(__file__).with_name("erlport")
TIMEOUT_S = 120


async def link() -> list[Figure]:
    """Compare rates with 1 and 64 callers; ERLPORT_EBIN names the beams of an ErlPort 0.11."""
    command = await _elixir()
    erlport = os.environ.get("ERLPORT_EBIN", "")
    if erlport:
        command += ["-pa", erlport]
    process = await asyncio.create_subprocess_exec(
        *command,
        str(SCRIPT),
        sys.executable,
        str(ECHO_FOLDER),
        str(TURNS),
        str(TURN_MS),
        *map(str, GOALS),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        raise CannotMeasure(f"no result within {TIMEOUT_S} s") from None
    if process.returncode:
        raise CannotMeasure(f"{SCRIPT.name} ended with {process.returncode}, see above")
    rates: dict[tuple[str, int], list[float]] = {}
    for line in output.decode().splitlines():
        match line.split():  # the node's own log is between
            case ["rate", name, callers, rate]:
                rates.setdefault((name, int(callers)), []).append(float(rate))
    return [_figure(callers, goal, rates) for callers, goal in GOALS.items()]


def _figure(callers: int, goal: str, rates: dict[tuple[str, int], list[float]]) -> Figure:
    name = f"link round trip, map of 150 B, {callers} caller{'s' if callers > 1 else ''}"
    subject = rates["bridge", callers]
    peer = rates.get(("erlport", callers))
    if peer is None:
        text = f"{median(subject):,.0f} /s"
        return Figure(name, text, "no ErlPort: set ERLPORT_EBIN", None, goal)
    return compare(name, list(zip(subject, peer, strict=True)), "/s", goal)


async def _elixir() -> list[str]:
    """Return the command that runs a script with the node's modules, compiled if need be."""
    found = programs.elixir(programs.search_path())
    if isinstance(found, Missing):
        raise CannotMeasure(found.reason)
    with tempfile.TemporaryDirectory(prefix="bridge-bench-") as folder:
        failed = await programs.compiled(found, os.environ, Path(folder, "compile.log"))
    if failed is not None:
        raise CannotMeasure(failed.reason)
    beams = found.argv[found.argv.index("-pa") + 1]
    return [found.argv[0], "-pa", beams]
