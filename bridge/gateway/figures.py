"""What workers say of themselves, put together to what the bridge says. No I/O here.

A worker's figures are JSON: `worker`, `pid`, `edge` (sockets, topics, frames), `runtimes` (whom
it reaches for which subsystem), `rates`, `left_out`, `link`, `nodes`, `builds`, `joelclaw`,
`counts`, `refused` (what Redis refuses it, so that it commits nothing) and `last` (the newest
event that had something to tell).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bridge.message import JSON

Figures = dict[str, Any]
# What of joelclaw's parts is the same whichever worker looks.
SHARED = ("outlet", "port", "topic", "routes")


def together(workers: Sequence[Figures]) -> dict[str, JSON]:
    """Sum what adds up; of what is the same everywhere, take the first worker's.

    A runtime is reached for a subsystem if every worker reaches it. `workers` has what they say
    each, where they may differ.
    """
    first = workers[0]
    return {
        "workers": [_differing(figures) for figures in workers],
        "edge": _sum(figures["edge"] for figures in workers),
        "rates": _sum(figures["rates"] for figures in workers),
        "runtimes": {
            runtime: {
                name: all(_reaches(figures, runtime, name) for figures in workers)
                for name in served
            }
            for runtime, served in first["runtimes"].items()
        },
        "left_out": sorted({fault for figures in workers for fault in figures["left_out"]}),
        "link": _sum(figures["link"] for figures in workers),
        "nodes": _nodes([node for figures in workers for node in figures["nodes"]]),
        "builds": first["builds"],
        "joelclaw": _sum(figures["joelclaw"] for figures in workers),
        "counts": dict(sorted(_sum(figures["counts"] for figures in workers).items())),
    }


def _differing(figures: Figures) -> dict[str, JSON]:
    alike = ("link", "nodes", "joelclaw", "counts", "left_out")
    return {name: value for name, value in figures.items() if name not in alike}


def _reaches(figures: Figures, runtime: str, subsystem: str) -> bool:
    """Say whether a worker reaches it; one that has not loaded it is not asked for it."""
    return bool(figures["runtimes"].get(runtime, {}).get(subsystem, True))


def _sum(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Add numbers member by member; of flags one is enough, of all else the first counts."""
    total: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            there = total.get(name)
            if there is None or name in SHARED:
                total.setdefault(name, value)
            elif isinstance(value, dict):
                total[name] = _sum((there, value))
            elif isinstance(value, bool):
                total[name] = there or value
            elif isinstance(value, int):
                total[name] = there + value
    return total


def _nodes(described: Sequence[dict[str, Any]]) -> list[JSON]:
    """Describe each node once: one that does not answer one worker hangs."""
    nodes: dict[str, dict[str, Any]] = {}
    for node in described:
        seen = nodes.setdefault(node["node"], {**node})
        serves = {*seen["serves"], *node["serves"]}
        seen["stalled"] = seen["stalled"] or node["stalled"]
        seen["serves"] = sorted(serves)
        seen["stands_by"] = sorted({*seen["stands_by"], *node["stands_by"]} - serves)
    return list(nodes.values())
