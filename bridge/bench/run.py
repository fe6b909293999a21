"""Choose what to measure, and print it."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable

from bridge.bench.commits import commit
from bridge.bench.figures import HEADINGS, Figure
from bridge.bench.intake import intake
from bridge.bench.link import link
from bridge.bench.observe import observe
from bridge.bench.processes import CannotMeasure
from bridge.bench.sockets import connections, query
from bridge.table import table

BENCHES: dict[str, Callable[[], Awaitable[list[Figure]]]] = {
    "query": query,
    "commit": commit,
    "connections": connections,
    "link": link,
    "intake": intake,
    "observe": observe,
}
HELP = f"""usage: bridge bench [{" | ".join(BENCHES)} | all] ...

Each figure is measured in turns with its peer, in the same run; the ratio is the median of the
turns'. `link` compares with ErlPort 0.11 if ERLPORT_EBIN names the folder of its beams."""


async def main(args: list[str]) -> int:
    """Measure what is named, by default all; exit code 2 for a name that is none."""
    if "--help" in args or "-h" in args:
        print(HELP)
        return 0
    wanted = args or ["all"]
    if unknown := [name for name in wanted if name not in BENCHES and name != "all"]:
        print(
            f"bench: no such figure: {', '.join(unknown)}; there are {', '.join(BENCHES)}, all",
            file=sys.stderr,
        )
        return 2
    figures: list[Figure] = []
    failed = 0
    for name, bench in BENCHES.items():
        if name not in wanted and "all" not in wanted:
            continue
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        try:
            figures += await bench()
        except CannotMeasure as error:
            failed = 1
            print(f"{name}: {error}", file=sys.stderr)
    print(table(HEADINGS, [figure.row() for figure in figures]))
    return failed
