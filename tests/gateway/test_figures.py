"""What workers say of themselves is summed where it adds up."""

from __future__ import annotations

from typing import Any

from bridge.cli.findings import of_workers
from bridge.gateway.figures import Figures, together


def worker(name: str, **changes: Any) -> Figures:
    return {
        "worker": name,
        "pid": 1,
        "edge": {"draining": False, "sockets": 2, "topics": 3, "in_flight": 1, "followers": {}},
        "rates": {"commits_per_s": 5},
        "runtimes": {"python": {"tally": True}, "elixir": {"tally": True}},
        "left_out": [],
        "refused": "",
        "last": None,
        "link": {"calls": 4},
        "nodes": [_node(["tally"])],
        "builds": {"python": {"tally": "aa"}},
        "joelclaw": {"outlet": {"deliveries": 7}, "intake": {"holding": False}},
        "counts": {"committed{runtime=python}": 6},
        **changes,
    }


def _node(serves: list[str], stands_by: list[str] | None = None, *, stalled: bool = False) -> Any:
    return {
        "node": "n1",
        "stalled": stalled,
        "serves": serves,
        "stands_by": stands_by or [],
        "builds": {},
    }


def test_what_adds_up_is_summed_and_what_is_the_same_is_told_once() -> None:
    followed = {"followers": {"tally": 2}, "draining": True, "sockets": 1}
    told = together(
        [
            worker("a"),
            worker(
                "b",
                edge=followed,
                joelclaw={"outlet": {"deliveries": 7}, "intake": {"holding": True}},
                counts={"committed{runtime=python}": 1, "duplicate": 1},
                left_out=["mine/x.py: no"],
            ),
        ]
    )
    assert told["edge"] == {
        "draining": True,
        "sockets": 3,
        "topics": 3,
        "in_flight": 1,
        "followers": {"tally": 2},
    }
    assert told["rates"] == {"commits_per_s": 10}
    assert told["link"] == {"calls": 8}
    assert told["nodes"] == [_node(["tally"])]
    assert told["joelclaw"] == {"outlet": {"deliveries": 7}, "intake": {"holding": True}}
    assert told["counts"] == {"committed{runtime=python}": 7, "duplicate": 1}
    assert told["left_out"] == ["mine/x.py: no"]
    assert [one["worker"] for one in told["workers"]] == ["a", "b"]


def test_a_runtime_is_reached_where_every_worker_reaches_it_and_hangs_where_one_sees_it() -> None:
    cut_off = worker(
        "b",
        runtimes={"python": {"tally": True}, "elixir": {"tally": False}},
        nodes=[_node([], ["tally"], stalled=True)],
    )
    told = together([worker("a"), cut_off])
    assert told["runtimes"] == {"python": {"tally": True}, "elixir": {"tally": False}}
    assert told["nodes"] == [_node(["tally"], stalled=True)]


def test_of_workers_it_is_told_where_they_differ() -> None:
    apart = worker("b", refused="XADD")
    apart["runtimes"] = {"python": {"tally": True}, "elixir": {"tally": False}}
    apart["last"] = {"event": "reload_failed", "text": "no", "at_ms": 0}
    findings = {found.what: found for found in of_workers(together([worker("a"), apart]))}
    assert findings["workers"].found == "2: a, b"
    assert findings["workers"].warning == "b commits nothing: Redis refuses XADD"
    assert findings["clients"].found == "4 sockets, 6 topics, 2 in flight, 10 commits/s"
    assert findings["last of b"].found.endswith(" reload_failed: no")
    assert findings["tally in elixir"].found == "reached by 1 of 2 workers"
    assert findings["tally in elixir"].warning == "b cannot reach it"
    assert set(findings) == {"workers", "clients", "last of b", "tally in elixir"}
    alike = of_workers(together([worker("a"), worker("b")]))
    assert [found.what for found in alike] == ["workers", "clients"]
