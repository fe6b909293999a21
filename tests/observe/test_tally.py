"""Counts of records; few types, many, and faults."""

from __future__ import annotations

from bridge.observe.daemon import look
from bridge.observe.fate import Pushed, Returned, Settled
from bridge.observe.tally import MAX_EXAMPLES, MAX_FAULTS, MAX_TYPES, Tally


def push(tally: Tally, n: int, type: str = "t", fault: str = "", found: bool = False) -> None:
    item = f'{{"id":"e{n}","type":"{type}"}}'.encode()
    tally.add(Pushed(n, n, "gateway", item, look(item), fault, found))


def settle(tally: Tally, n: int, fate: str, cause: str = "", type: str = "t") -> None:
    tally.add(Settled(n, n, "gateway", f"e{n}", type, fate, cause, "why"))


def test_types_that_lost_most_come_first_and_all_last() -> None:
    tally = Tally()
    for n, (type, fate) in enumerate([("a", "prompt"), ("b", "lost"), ("a", "lost")] * 2):
        push(tally, n, type)
        settle(tally, n, fate, "window" if fate == "lost" else "", type)
    push(tally, 7, "b")
    settle(tally, 7, "lost", "nothing", "b")
    assert tally.rows() == [
        {"type": "b", "events": 3, "lost": 3},
        {"type": "a", "events": 4, "prompt": 2, "lost": 2},
        {"type": "all", "events": 7, "prompt": 2, "lost": 5},
    ]


def test_losses_have_causes_and_the_first_examples() -> None:
    tally = Tally()
    for n in range(MAX_EXAMPLES + 1):
        push(tally, n)
        settle(tally, n, "lost", "window")
    (cause,) = tally.as_json()["lost"].values()
    assert cause["count"] == MAX_EXAMPLES + 1
    assert [example["id"] for example in cause["examples"]] == ["e0", "e1", "e2"]


def test_what_became_of_items_off_the_contract_is_counted() -> None:
    tally = Tally()
    push(tally, 1, fault="missing id")
    push(tally, 2, fault="missing id")
    push(tally, 3)
    for n in (1, 2, 3):
        settle(tally, n, "malformed" if n == 1 else "prompt")
    assert tally.as_json()["off_contract"] == {
        "missing id": {
            "count": 2,
            "fates": {"malformed": 1, "prompt": 1},
            "examples": [
                {"id": "e1", "type": "t", "at_ms": 1},
                {"id": "e2", "type": "t", "at_ms": 2},
            ],
        }
    }


def test_what_the_bridge_gave_back_is_not_counted_as_taken() -> None:
    tally = Tally()
    push(tally, 1, found=True)
    settle(tally, 1, "bridge")
    tally.add(Returned(1, 2, "t"))
    settle(tally, 1, "prompt")
    counts = tally.as_json()
    assert counts["fates"] == {"prompt": 1}
    assert (counts["events"], counts["found"], counts["returned"]) == (1, 1, 1)


def test_names_are_bounded_whatever_is_sent() -> None:
    tally = Tally()
    for n in range(2 * MAX_TYPES):
        push(tally, n, f"type {n}", f"fault {n}")
        settle(tally, n, "prompt", type=f"type {n}")
    assert len(tally.types) == MAX_TYPES + 1
    assert tally.types["(other types)"] == {"events": MAX_TYPES, "prompt": MAX_TYPES}
    assert len(tally.faults) == MAX_FAULTS + 1
    assert sum(kind.count for kind in tally.faults.values()) == 2 * MAX_TYPES
