"""States as patches: any state of any other, and small where little changed."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.canonical import canonical
from bridge.journal.patch import difference, patched

NAMES = st.sampled_from(["a", "b", "", "~", "/", "~1", "0", "-", "ü"])
LEAVES = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.5, "", "a", "1"])
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner),
    max_leaves=20,
)


def rebuilt(before: Any, after: Any) -> None:
    kept = copy.deepcopy(before)
    assert canonical(patched(before, difference(before, after))) == canonical(after)
    assert canonical(before) == canonical(kept)


@settings(max_examples=500)
@given(VALUES, VALUES)
def test_any_value_is_made_of_any_other(before: Any, after: Any) -> None:
    rebuilt(before, after)


@given(st.lists(VALUES, max_size=6), st.integers(0, 6), st.lists(VALUES, max_size=3))
def test_a_list_that_moved_on_is_made_of_the_one_before(
    before: list[Any], gone: int, added: list[Any]
) -> None:
    rebuilt({"seen": before}, {"seen": before[gone:] + added})


@settings(max_examples=100)
@given(st.lists(VALUES, min_size=2, max_size=20))
def test_a_history_is_rebuilt_from_its_first_state_and_patches(states: list[Any]) -> None:
    state = states[0]
    for before, expected in itertools.pairwise(states):
        state = patched(state, difference(before, expected))
        assert canonical(state) == canonical(expected)


@pytest.mark.parametrize(
    ("before", "after"), [(1, True), (0, False), (1, 1.5), ([1], [True]), ({"a": 1}, {"a": True})]
)
def test_what_python_takes_for_equal_is_told_apart(before: Any, after: Any) -> None:
    rebuilt(before, after)


def test_what_moved_on_by_one_of_a_thousand_is_two_steps() -> None:
    before = {"ids": [f"e{n}" for n in range(1000)], "mode": "awake"}
    after = {"ids": [*before["ids"][1:], "new"], "mode": "awake"}
    assert difference(before, after) == [
        {"op": "remove", "path": "/ids/0"},
        {"op": "add", "path": "/ids/-", "value": "new"},
    ]


def test_an_item_that_changed_in_its_place_is_named_alone() -> None:
    before = [{"n": 1, "text": "x"}, {"n": 2, "text": "y"}]
    after = [{"n": 1, "text": "x"}, {"n": 2, "text": "z"}]
    assert difference(before, after) == [{"op": "replace", "path": "/1/text", "value": "z"}]


def test_nothing_changed_is_an_empty_patch() -> None:
    assert difference({"a": [1, {}]}, {"a": [1, {}]}) == []
