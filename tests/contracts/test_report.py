"""Where a report points: to the very place, whatever names there are, and in bounded time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.canonical import escape
from bridge.contracts.validation import CompiledSchema, resolve
from bridge.errors import Violation

INTEGERS = {"type": "object", "additionalProperties": {"type": "integer"}}


def violation(schema: Any, value: Any, definitions: Any = None) -> Violation:
    found = CompiledSchema("c", schema, definitions or {}).violation(value)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "name",
    ["42", "042", "0", "-1", "1e3", "18446744073709551615", "", "~", "~1", "a/b", " ", "é", "\0"],
)
def test_a_members_name_is_in_the_pointer_as_it_is(name: str) -> None:
    inner = {**INTEGERS, "additionalProperties": INTEGERS}
    found = violation(inner, {"fine": {"n": 1}, name: {"n": 2, name: "x"}})
    assert found.pointer == f"/{escape(name)}" * 2
    assert (found.rule, found.expected, found.actual) == ("type", "integer", "string")


def test_a_member_too_many_is_named_whatever_it_is_called() -> None:
    schema = {"type": "object", "additionalProperties": False, "properties": {"1": {}}}
    for name in ("", "01", "2", "toString"):
        found = violation(schema, {"1": 0, name: None})
        assert (found.pointer, found.rule) == (f"/{escape(name)}", "additionalProperties")


def test_items_are_numbered_and_members_of_items_named() -> None:
    schema = {"type": "array", "items": {"type": "array", "items": INTEGERS}}
    assert violation(schema, [[{"0": 1}], [{}, {"0": 1, "1": []}]]).pointer == "/1/1/1"


def test_all_of_several_the_one_that_breaks_is_told() -> None:
    schema = {"allOf": [{"type": "string"}, {"type": "string", "minLength": 2}]}
    found = violation(schema, "x")
    assert (found.pointer, found.rule, found.expected) == ("", "minLength", 2)


@pytest.mark.parametrize(
    ("schema", "value", "rule", "expected"),
    [
        ({"enum": [1, "1"]}, 2, "enum", [1, "1"]),
        ({"const": {"a": [1]}}, {"a": [2]}, "const", {"a": [1]}),
        ({"type": ["string", "null"]}, 1, "type", ["string", "null"]),
        ({"type": "integer", "multipleOf": 3}, 4, "multipleOf", 3),
        ({"type": "integer", "exclusiveMaximum": 3}, 3, "exclusiveMaximum", 3),
        ({"type": "string", "pattern": "^a$"}, "b", "pattern", "^a$"),
        ({"type": "array", "maxItems": 1}, [1, 2], "maxItems", 1),
        ({"type": "array", "uniqueItems": True}, [1, 1], "uniqueItems", "each item once"),
        (
            {"type": "array", "contains": {"const": 1}},
            [],
            "contains",
            "an item by the rule for one",
        ),
        ({"not": {}}, 1, "not", "what the schema does not exclude"),
        (
            {"type": "object", "propertyNames": {"maxLength": 1}},
            {"ab": 1},
            "propertyNames",
            "member names by the rule for them",
        ),
        ({"type": "object", "properties": {"a": False}}, {"a": 1}, "falseSchema", "nothing here"),
    ],
)
def test_each_rule_says_what_it_expects(
    schema: Any, value: Any, rule: str, expected: Any
) -> None:
    found = violation(schema, value)
    assert (found.rule, found.expected) == (rule, expected)


def tree(*tags: str) -> dict[str, Any]:
    """Return a schema whose alternatives come back to it, told apart by a tag or by nothing."""
    alternatives: list[Any] = [{"type": "null"}]
    for tag in tags:
        properties: dict[str, Any] = {"child": {"$ref": "#/$defs/T"}}
        properties["tag"] = {"const": tag} if tag else {"type": "string"}
        alternatives.append(
            {"type": "object", "additionalProperties": False, "properties": properties}
        )
    return {"T": {"anyOf": alternatives}}


@pytest.mark.parametrize("tags", [("a", "b"), ("", ""), ("a", "b", "c", "d")])
def test_a_report_of_a_deep_tree_with_alternatives_takes_no_time_of_note(
    tags: tuple[str, ...],
) -> None:
    value: Any = 7
    for _ in range(60):
        value = {"tag": "a", "child": value}
    found = violation({"$ref": "#/$defs/T"}, value, tree(*tags))
    told = {True: ("/child" * 60, "anyOf"), False: ("", "anyOf")}
    assert (found.pointer, found.rule) == told[any(tags)]


def test_definitions_that_name_each_other_twice_double_nothing() -> None:
    definitions: dict[str, Any] = {"L0": {"type": "null"}}
    for n in range(1, 12):
        reference = {"$ref": f"#/$defs/L{n - 1}"}
        definitions[f"L{n}"] = {"anyOf": [reference, reference]}
    assert violation({"$ref": "#/$defs/L11"}, 1, definitions).rule == "anyOf"


def test_of_a_large_value_the_upper_levels_are_looked_through() -> None:
    chain: Any = {
        "type": "array",
        "items": {"anyOf": [{"type": "integer"}, {"$ref": "#/$defs/C"}]},
    }
    value: Any = [*range(100_000), "x"]
    for _ in range(50):
        value = [value]
    found = violation({"$ref": "#/$defs/C"}, value, {"C": chain})
    assert "/0/0/0/0".startswith(found.pointer) or found.pointer.startswith("/0/0/0/0")


NAMES = st.sampled_from(["a", "b", "", "0", "01", "~", "/"])
SCALARS = st.sampled_from([None, True, 0, 1, 2, -1, 1.5, "", "a", "é😀"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)
LEAVES = st.sampled_from(
    [
        True,
        False,
        {"type": "integer", "minimum": 1},
        {"type": "string", "maxLength": 1},
        {"type": ["array", "null"], "minItems": 1},
        {"const": 1},
        {"enum": ["a", None]},
        {"$ref": "#/$defs/D"},
    ]
)


def larger(inner: Any) -> Any:
    members = st.dictionaries(NAMES, inner, max_size=3)
    several = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        st.builds(
            lambda p, more: {
                "type": "object",
                "properties": p,
                "required": list(p)[:1],
                "additionalProperties": more,
            },
            members,
            inner,
        ),
        st.builds(lambda items: {"type": "array", "items": items, "uniqueItems": True}, inner),
        st.builds(
            lambda name, of: {name: of}, st.sampled_from(["anyOf", "oneOf", "allOf"]), several
        ),
        st.builds(lambda schema: {"not": schema}, inner),
    )


SCHEMAS = st.recursive(LEAVES, larger, max_leaves=8).filter(lambda schema: type(schema) is dict)


@given(SCHEMAS, SCHEMAS, VALUES)
def test_whatever_breaks_a_schema_is_reported_where_something_is(
    schema: Any, definition: Any, value: Any
) -> None:
    if "$ref" in str(definition):
        definition = {"type": "string"}
    found = CompiledSchema("c", schema, {"D": definition}).violation(value)
    if found is None:
        return
    parent, _, _ = found.pointer.rpartition("/")
    assert found.rule
    assert found.pointer == "" or isinstance(resolve(value, parent), dict | list)


def test_a_member_name_that_breaks_the_rule_for_names_is_named() -> None:
    names = {"type": "object", "propertyNames": {"pattern": "^[a-z]+$"}}
    found = violation(names, {"ok": 1, "toJSON": 2})
    assert (found.pointer, found.rule, found.actual) == ("/toJSON", "propertyNames", "string")
