"""Schemas of draft-07, 2020-12 and of libraries, as others write them."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.contracts.verdicts import LATER, after, imported

INT = {"type": "integer", "minimum": -5}
REF = {"$ref": "#/$defs/Int"}


@pytest.mark.parametrize(
    ("document", "is_"),
    [
        pytest.param(
            {"$defs": {"Int": INT}, "properties": {"n": {**REF, "maximum": 100}}},
            {"allOf": [REF, {"type": "integer", "maximum": 100}]},
            id="Effect 3: limits beside a reference",
        ),
        pytest.param(
            {
                "dialect": "draft-2020-12",
                "schema": {"properties": {"n": {**REF, "title": "N"}}},
                "definitions": {"Int": INT},
            },
            {**REF, "title": "N"},
            id="Effect 4: dialect, schema, definitions",
        ),
        pytest.param(
            {**LATER, "$defs": {"Int": INT}, "properties": {"n": {**REF, "maximum": 100}}},
            {"allOf": [REF, {"type": "integer", "maximum": 100}]},
            id="2020-12: beside a reference",
        ),
        pytest.param(
            {"$id": "http://x/a", "$defs": {"Int": {**INT, "$id": "int.json"}},
             "properties": {"n": {"$ref": "http://x/int.json"}}},
            REF,
            id="by the other's $id",
        ),
        pytest.param(
            {**LATER, "$defs": {"Int": {**INT, "$anchor": "i"}},
             "properties": {"n": {"$ref": "#i"}}},
            REF,
            id="by an anchor",
        ),
        pytest.param(
            {**LATER, "properties": {"n": {"type": "object", "unevaluatedProperties": False}}},
            {"type": "object", "additionalProperties": False},
            id="nothing else looks at members",
        ),
    ],
)  # fmt: skip
def test_schemas_as_others_write_them(document: Any, is_: Any) -> None:
    made = imported(document)
    assert made.of("refused") + made.of("loosened") == []
    asked = made.definitions[made.root or ""]
    asked = asked.get("anyOf", [asked])[0]  # without `type`, what is no object passes too
    assert asked["properties"]["n"] == is_


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"prefixItems": [{"const": 1}], "items": False}, [[], [1]], [[2], [1, 1]]),
        ({"dependentRequired": {"a": ["b"]}}, [{}, {"a": 1, "b": 1}], [{"a": 1}]),
        ({"dependentSchemas": {"a": {"maxProperties": 1}}}, [{"a": 1}], [{"a": 1, "b": 1}]),
        ({"contains": {"const": 1}, "minContains": 0}, [[], [2]], []),
        ({"contains": {"const": 1}, "minContains": 1}, [[1]], [[]]),
        ({"type": "string", "format": "date"}, ["x"], [1]),
    ],
)
def test_what_2020_12_says_is_said_again(schema: Any, good: list[Any], bad: list[Any]) -> None:
    made = imported({**LATER, **schema})
    assert made.of("refused") + made.of("loosened") == []
    assert [value for value in good if not after(made, value)] == []
    assert [value for value in bad if after(made, value)] == []


def test_sixteen_levels_of_alternatives_are_looked_at_at_once() -> None:
    levels = {
        f"L{n}": {"anyOf": [{"$ref": f"#/$defs/L{n + 1}"}, {"$ref": f"#/$defs/L{n + 1}"}]}
        for n in range(16)
    }
    began = time.process_time()
    made = imported({"$defs": {**levels, "L16": {}}, "$ref": "#/$defs/L0"})
    assert {finding.was for finding in made.of("refused")} == {"ref_ways"}
    assert time.process_time() - began < 2
