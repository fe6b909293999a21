"""The rule table, case by case; what a sample may show."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.contracts.files import CONTRACTS
from bridge.moves import comparison
from bridge.moves.comparison import MOST, Difference, Rules, compare

FILE = CONTRACTS / "vectors" / "comparison" / "rules.json"
CASES: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))["cases"]

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=12,
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_rules(case: dict[str, Any]) -> None:
    names = frozenset(case["names"]) if "names" in case else None
    rules = Rules.of_json(case.get("rules", {}), names)
    found = compare(rules, case["owner"], case["candidate"])
    assert [[d.pointer, d.kind] for d in found] == case["differences"]


@given(VALUES)
def test_what_is_equal_has_no_difference(value: Any) -> None:
    assert compare(Rules(), {"state": value}, {"state": copy.deepcopy(value)}) == []


@given(VALUES, VALUES)
def test_what_is_not_equal_has_one(one: Any, other: Any) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (compare(Rules(), {"state": one}, {"state": other}) == []) == same


@given(VALUES, VALUES)
def test_arrays_that_are_too_long_to_align_well_differ_where_they_do(
    one: Any, other: Any
) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "EFFORT", 0)
        assert (compare(Rules(), {"state": one}, {"state": other}) == []) == same


def test_at_most_twenty_differences_are_told() -> None:
    owner, candidate = {f"m{n}": n for n in range(50)}, {f"m{n}": n + 1 for n in range(50)}
    assert len(compare(Rules(), {"state": owner}, {"state": candidate})) == MOST


def test_a_sample_shows_scalars_but_nothing_sensitive() -> None:
    rules = Rules.of_json({"sensitive": ["/state/token", "/state/people/*"]})
    owner = {"state": {"n": 1, "token": "abc", "people": [{"name": "x"}], "list": [1]}}
    other = {"state": {"n": 2, "token": "abcd", "people": [{"name": "y"}], "list": "long" * 50}}
    assert compare(rules, owner, other) == [
        Difference("/state/list", "type", "array of 1 items", '"' + "long" * 19 + "lo…"),
        Difference("/state/n", "value", "1", "2"),
        Difference(
            "/state/people/*/name",
            "value",
            "(string of 1, sensitive)",
            "(string of 1, sensitive)",
        ),
        Difference(
            "/state/token", "value", "(string of 3, sensitive)", "(string of 4, sensitive)"
        ),
    ]
