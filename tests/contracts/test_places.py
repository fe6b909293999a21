"""Values found in a JSON text and replaced there, all else left as it is written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.canonical import escape
from bridge.contracts.places import line_of, replaced, span, written

TEXT = """{
  "a": [1, {"b/c": "x, ]}"} , []],
  "\\u00e9": {"~": null}
}
"""
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda below: st.lists(below) | st.dictionaries(st.text(), below),
    max_leaves=40,
)


@pytest.mark.parametrize(
    ("pointer", "found", "line"),
    [
        ("/a/0", "1", 2),
        ("/a/1/b~1c", '"x, ]}"', 2),
        ("/a/2", "[]", 2),
        ("/é/~0", "null", 3),
        ("/é/absent/below", '{"~": null}', 3),
    ],
)
def test_a_pointers_value_is_found(pointer: str, found: str, line: int) -> None:
    start, end = span(TEXT, pointer)
    assert TEXT[start:end] == found
    assert line_of(TEXT, pointer) == line


def test_only_the_value_is_written_anew_with_the_lines_indent() -> None:
    long = ["x" * 30] * 4
    shared = ", ".join(f'"{"x" * 30}"' for _ in range(2))
    assert replaced(TEXT, "/é", {"n": 1, "long": long}) == TEXT.replace(
        '{"~": null}',
        '{\n    "n": 1,\n    "long": [\n      ' + shared + ",\n      " + shared + "\n    ]\n  }",
    )


@given(VALUES)
def test_what_is_written_is_read_again(value: Any) -> None:
    assert json.loads(written(value)) == value


@given(VALUES, VALUES)
def test_each_place_can_be_replaced(value: Any, other: Any) -> None:
    whole = {"first": value, "list": [value, value], "last": {}}
    for pointer in ("/first", "/list/1", "/last"):
        text = replaced(written(whole), pointer, other)
        expected = json.loads(json.dumps(whole))
        match pointer.split("/"):
            case [_, name]:
                expected[name] = other
            case [_, name, index]:
                expected[name][int(index)] = other
        assert json.loads(text) == expected


@given(st.dictionaries(st.text(), st.integers(), min_size=1))
def test_names_of_any_characters_are_found(members: dict[str, int]) -> None:
    text = json.dumps(members)
    for name, value in members.items():
        start, end = span(text, f"/{escape(name)}")
        assert text[start:end] == str(value)
