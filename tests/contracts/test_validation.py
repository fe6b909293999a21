from __future__ import annotations

from typing import Any

import pytest

from bridge.contracts.validation import CompiledSchema

DEFINITIONS: dict[str, Any] = {
    "Say": {
        "type": "object",
        "required": ["type", "text"],
        "additionalProperties": False,
        "properties": {"type": {"type": "string", "const": "say"}, "text": {"type": "string"}},
    },
    "Stop": {
        "type": "object",
        "required": ["type"],
        "additionalProperties": False,
        "properties": {"type": {"type": "string", "const": "stop"}},
    },
    "One": {"oneOf": [{"$ref": "#/$defs/Say"}, {"$ref": "#/$defs/Stop"}]},
    "Many": {
        "anyOf": [
            {"$ref": "#/$defs/One"},
            {"type": "array", "items": {"$ref": "#/$defs/One"}},
        ]
    },
}


@pytest.mark.parametrize(
    ("value", "pointer", "rule", "expected"),
    [
        ({"type": "say"}, "", "required", "member 'text'"),
        ({"type": "say", "text": 1}, "/text", "type", "string"),
        ({"type": "stop", "text": ""}, "/text", "additionalProperties", "no member of this name"),
        ([{"type": "stop"}, {"type": "say", "text": []}], "/1/text", "type", "string"),
        ({"type": "go"}, "", "anyOf", "one of the alternatives"),
        ({}, "", "oneOf", "exactly one of the alternatives"),
        ("say", "", "anyOf", "one of the alternatives"),
    ],
)
def test_of_several_alternatives_the_one_that_is_meant_says_what_is_wrong(
    value: Any, pointer: str, rule: str, expected: str
) -> None:
    violation = CompiledSchema("many", DEFINITIONS["Many"], DEFINITIONS).violation(value)
    assert violation is not None
    assert (violation.pointer, violation.rule, violation.expected) == (pointer, rule, expected)


def test_alternatives_that_all_take_a_value_say_that_it_must_be_one() -> None:
    schema = {"oneOf": [{"type": "string"}, {"type": "string", "minLength": 1}]}
    violation = CompiledSchema("both", schema, {}).violation("x")
    assert violation is not None
    assert violation.rule == "oneOf"
