"""Ids of events and parts of bodies."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.joelclaw.inngest.events import message_id, part_of, parts_of

SEED = "1795380404972,iVvyYVfEl1pWJg=="
EVENT: dict[str, Any] = {"name": "a/b", "data": {}}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.parametrize(
    "seed", ["", "always", "0,iVvyYVfEl1pWJg==", "1795380404972,iVvyYVfE", "1,2,3", "1,%%%"]
)
def test_a_seed_inngest_would_not_take_makes_no_id(seed: str) -> None:
    assert message_id({"name": "n", "data": {}}, seed, 0) == ""


def test_ids_of_messages_are_pinned() -> None:
    event = {"name": "a/b", "data": {}}
    assert [
        message_id({**event, "id": "x"}, SEED, 0),
        message_id(event, SEED, 0),
        message_id(event, SEED, 1),
    ] == [
        "5155a97a-61a9-8f9a-ac59-01abd34e930e",
        "b1853e99-6532-849e-9cf6-0a71b2888ca7",
        "87f22b40-8522-8763-9339-cf9d06e8900c",
    ]


def test_an_id_is_held_per_name_and_goes_before_a_seed() -> None:
    named = {**EVENT, "id": "x"}
    assert message_id(named, "", 0) == message_id(named, SEED, 5)
    assert message_id({**named, "name": "a/c"}, "", 0) != message_id(named, "", 0)
    assert message_id({"name": "a", "id": "b/c"}, "", 0) != message_id(
        {"name": "a/b", "id": "c"}, "", 0
    )
    assert message_id({**EVENT, "id": "1"}, "", 0) != message_id(EVENT, "1", 0)


@given(st.lists(VALUES, min_size=1, max_size=6), st.data(), st.sampled_from(["", " ", "\r\n\t "]))
def test_a_part_of_an_array_has_its_items_as_they_were_written(
    values: list[Any], data: st.DataObject, space: str
) -> None:
    wanted = data.draw(st.lists(st.integers(0, len(values) - 1), unique=True).map(sorted))
    items = [json.dumps(value, ensure_ascii=data.draw(st.booleans())) for value in values]
    body = f"{space}[{space}" + f"{space},{space}".join(items) + f"{space}]{space}"
    part = part_of(body.encode(), wanted)
    assert part.decode() == f"[{','.join(items[n] for n in wanted)}]"


@given(
    st.lists(st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5)),
    st.integers(1, 4),
    st.sampled_from(["", " ", "\n\t "]),
)
def test_an_array_is_cut_into_arrays_of_its_items(
    items: list[Any], most: int, space: str
) -> None:
    separator = f"{space},{space}"
    text = f"{space}[{space}{separator.join(map(json.dumps, items))}{space}]{space}"
    parts = [json.loads(part) for part in parts_of(text, most)]
    assert [item for part in parts for item in part] == items
    assert all(len(part) <= most for part in parts)


@pytest.mark.parametrize(
    "body",
    ["[", "[1", "[1,", "[1,]", "[1 2]", "[1]]", "[1]x", "[,1]", "[}", "[1,2", "[" * 9000, "[]x"],
)
def test_an_array_that_is_no_json_has_a_part_that_is_none(body: str) -> None:
    def read() -> None:
        for part in parts_of(body, 1):
            json.loads(part)

    with pytest.raises((ValueError, RecursionError)):
        read()


def test_what_is_no_array_comes_whole() -> None:
    assert list(parts_of(' {"name": "a"}', 5)) == [' {"name": "a"}']
    assert list(parts_of("", 5)) == [""]
