"""Choose what to measure, and print it."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from functools import partial

from bridge.bench.agents import agents
from bridge.bench.commits import commit
from bridge.bench.edges import edges
from bridge.bench.figures import HEADINGS, Figure
from bridge.bench.hostile import SECONDS, fanout, hostile
from bridge.bench.intake import intake
from bridge.bench.journal import journal
from bridge.bench.link import link
from bridge.bench.moves import moves
from bridge.bench.observe import observe
from bridge.bench.outage import OUTAGE_S, outage
from bridge.bench.processes import CannotMeasure
from bridge.bench.rejoin import rejoin
from bridge.bench.rest import rest
from bridge.bench.sockets import connections, query
from bridge.table import table

Bench = Callable[[], Awaitable[list[Figure]]]
BENCHES: dict[str, Bench] = {
    "query": query,
    "commit": commit,
    "journal": journal,
    "connections": connections,
    "link": link,
    "intake": intake,
    "observe": observe,
    "moves": moves,
    "agents": agents,
    "fanout": fanout,
    "rejoin": rejoin,
    "rest": rest,
    "outage": partial(outage, OUTAGE_S),
    "edges": edges,
}
HELP = f"""usage: bridge bench [{" | ".join(BENCHES)} | all | hostile] ... [--seconds N]

`hostile` attacks a worker in each way there is, {SECONDS:g} s each or N; it is not part of `all`.
`outage` has a target away for {OUTAGE_S:g} s or N.
Each figure is measured in turns with its peer, in the same run; the ratio is the median of the
turns'. `link` compares with ErlPort 0.11 if ERLPORT_EBIN names the folder of its beams."""


async def main(args: list[str], seconds: float | None = None) -> int:
    """Measure what is named, by default all; exit code 2 for a name that is none.

    `seconds`: how long each attack of `hostile` is kept up, and how long `outage` lasts.
    """
    if "--help" in args or "-h" in args:
        print(HELP)
        return 0
    wanted = args or ["all"]
    benches: dict[str, Bench] = {**BENCHES, "hostile": partial(hostile, seconds or SECONDS)}
    benches["outage"] = partial(outage, seconds or OUTAGE_S)
    if unknown := [name for name in wanted if name not in benches and name != "all"]:
        there = ", ".join([*BENCHES, "all", "hostile"])
        print(f"bench: no such figure: {', '.join(unknown)}; there are {there}", file=sys.stderr)
        return 2
    figures: list[Figure] = []
    failed = 0
    for name, bench in benches.items():
        if name not in wanted and ("all" not in wanted or name not in BENCHES):
            continue
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        try:
            figures += await bench()
        except CannotMeasure as error:
            failed = 1
            print(f"{name}: {error}", file=sys.stderr)
    print(table(HEADINGS, [figure.row() for figure in figures]))
    return failed
