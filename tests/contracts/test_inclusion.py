from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from bridge.contracts.cases import Schema
from bridge.contracts.compatibility import as_read
from bridge.contracts.inclusion import Inclusion
from bridge.contracts.validation import CompiledSchema
from tests.contracts.schemas import changed, definitions, schemas, values

VALUES = values()
TEXT = {"type": "string"}
INTEGER = {"type": "integer"}


def closed(required: str = "", **members: Schema) -> dict[str, Any]:
    made = {"type": "object", "additionalProperties": False, "properties": members}
    return {**made, "required": required.split()} if required else made


def opened(required: str = "", **members: Schema) -> dict[str, Any]:
    return {**closed(required, **members), "additionalProperties": True}


def list_of(item: Schema, **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": item, **more}


def to(name: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/{name}"}


TREE = closed("children", children=list_of(to("Tree")))
TAGGED = {"oneOf": [closed("k", k={"const": "a"}), closed("k", k={"const": "b"}, n=INTEGER)]}

# Ordinary changes, as they are made every day; and cases of the kinds that Confluent's registry
# tells apart. What is taken before, what is taken after.
INCLUDED: list[tuple[str, Any, Any]] = [
    ("anything", {}, {}),
    ("anything was asked, now nothing is", closed("a", a=TEXT), {}),
    ("an optional member more", closed("a", a=TEXT), closed("a", a=TEXT, b=INTEGER)),
    ("a member that was required is optional", closed("a", a=TEXT), closed(a=TEXT)),
    ("closed became open", closed(a=TEXT), opened(a=TEXT)),
    ("a member goes from an open object", opened("a", a=TEXT, b=TEXT), opened("a", a=TEXT)),
    ("a member of anything in an open object", opened(), opened(a={})),
    ("a member that could not be is gone", closed(a=False), closed()),
    ("covered by what others may be", closed(a=TEXT), {**closed(), "additionalProperties": TEXT}),
    ("others may be more", {**closed(), "additionalProperties": INTEGER}, opened()),
    ("an enum with a value more", {"enum": ["a", "b"]}, {"enum": ["a", "b", "c"]}),
    ("a value among several", {"const": 1}, {"enum": [1, 2]}),
    ("an enum became any text", {"type": "string", "enum": ["a"]}, TEXT),
    ("const and type", {"const": "a"}, TEXT),
    ("a flag is listed", {"type": "boolean"}, {"enum": [True, False]}),
    ("a range is listed", {**INTEGER, "minimum": 1, "maximum": 2}, {"enum": [1, 2, 3]}),
    ("limits fall", {**INTEGER, "minimum": 1, "maximum": 5}, {**INTEGER, "maximum": 5}),
    ("limits widen", {**INTEGER, "maximum": 5}, {**INTEGER, "maximum": 6}),
    ("exclusive and not", {**INTEGER, "exclusiveMinimum": 0}, {**INTEGER, "minimum": 1}),
    ("multiples", {**INTEGER, "multipleOf": 4}, {**INTEGER, "multipleOf": 2}),
    ("two steps", {"allOf": [{**INTEGER, "multipleOf": 2}, {**INTEGER, "multipleOf": 3}]},
     {**INTEGER, "multipleOf": 6}),
    ("integers are numbers", INTEGER, {"type": "number"}),
    ("longer texts", {**TEXT, "maxLength": 5}, {**TEXT, "maxLength": 6}),
    ("a pattern goes", {**TEXT, "pattern": "^a$"}, TEXT),
    ("the same pattern", {**TEXT, "pattern": "^a$", "maxLength": 3}, {**TEXT, "pattern": "^a$"}),
    ("null as well", TEXT, {"type": ["string", "null"]}),
    ("null as an alternative", {"type": ["string", "null"]}, {"anyOf": [TEXT, {"type": "null"}]}),
    ("one alternative more", {"anyOf": [TEXT]}, {"anyOf": [INTEGER, TEXT]}),
    ("one of became any of", {"oneOf": [TEXT, INTEGER]}, {"anyOf": [TEXT, INTEGER]}),
    ("one of, the same", TAGGED, TAGGED),
    ("one of, an alternative more", TAGGED,
     {"oneOf": [*TAGGED["oneOf"], closed("k", k={"const": "c"})]}),
    ("one of, a member more in one", TAGGED,
     {"oneOf": [closed("k", k={"const": "a"}, m=TEXT), TAGGED["oneOf"][1]]}),
    ("told apart by a member", closed("k", k={"enum": ["a", "b"]}), TAGGED),
    ("all of fewer", {"allOf": [opened("a", a=TEXT), opened("b", b=TEXT)]}, opened("a", a=TEXT)),
    ("all of in one", {"allOf": [opened("a", a=TEXT), opened("b", b=TEXT)]},
     opened("a b", a=TEXT, b=TEXT)),
    ("items widen", list_of(INTEGER, maxItems=3), list_of({"type": "number"}, maxItems=4)),
    ("no items, whatever they are", list_of(INTEGER, maxItems=0), list_of(TEXT)),
    ("each once no more", list_of(TEXT, uniqueItems=True), list_of(TEXT)),
    ("at most one is once", list_of(TEXT, maxItems=1), list_of(TEXT, uniqueItems=True)),
    ("contains less", {"type": "array", "contains": {"const": 1}},
     {"type": "array", "contains": INTEGER, "minItems": 1}),
    ("more members may be", {**opened(), "maxProperties": 1}, {**opened(), "maxProperties": 2}),
    ("as many as are declared", closed(a=TEXT, b=TEXT), {**opened(), "maxProperties": 2}),
    ("names by a rule, declared", closed(a=TEXT),
     {**opened(), "propertyNames": {"type": "string", "maxLength": 1}}),
    ("a map's names widen", {**opened(), "propertyNames": {**TEXT, "maxLength": 3}},
     {**opened(), "propertyNames": {**TEXT, "maxLength": 4}}),
    ("what is excluded shrinks", {"not": {"enum": ["a", "b"]}}, {"not": {"const": "a"}}),
    ("never of the excluded type", INTEGER, {"not": TEXT}),
    ("by a definition", to("Count"), INTEGER),
    ("in a definition", INTEGER, to("Count")),
    ("a tree", to("Tree"), to("Tree")),
    ("a tree, more in each", to("Tree"), to("Wider")),
    ("a tree, written out once", closed("children", children=list_of(to("Tree"))), to("Tree")),
    ("nothing at all", {"not": {}}, TEXT),
    ("two ends that do not meet", {**INTEGER, "minimum": 3, "maximum": 1}, TEXT),
    ("a member that cannot be", closed("a", a={"not": {}}), TEXT),
]  # fmt: skip
EXCEEDS: list[tuple[str, Any, Any, tuple[str, str]]] = [
    ("another type", {"type": "object", "additionalProperties": True}, list_of({}), ("", "type")),
    ("anything, now texts", {}, TEXT, ("", "type")),
    ("numbers, now integers", {"type": "number"}, INTEGER, ("", "type")),
    ("null no more", {"type": ["string", "null"]}, TEXT, ("", "type")),
    ("a value less", {"enum": ["a", "b"]}, {"enum": ["a"]}, ("", "enum")),
    ("any text, now listed", TEXT, {"enum": ["a"]}, ("", "enum")),
    ("any text, now one", TEXT, {"const": "a"}, ("", "enum")),
    ("above a limit", {**INTEGER, "minimum": 1}, {**INTEGER, "exclusiveMinimum": 1},
     ("", "exclusiveMinimum")),
    ("below a limit", {"type": "number", "maximum": 1}, {"type": "number", "exclusiveMaximum": 1},
     ("", "exclusiveMaximum")),
    ("all of more", TEXT, {"allOf": [TEXT, {**TEXT, "maxLength": 1}]}, ("", "maxLength")),
    ("a lower limit", {**INTEGER, "maximum": 5}, {**INTEGER, "maximum": 4}, ("", "maximum")),
    ("a limit", INTEGER, {**INTEGER, "minimum": 0}, ("", "minimum")),
    ("other multiples", {**INTEGER, "multipleOf": 2}, {**INTEGER, "multipleOf": 4},
     ("", "multipleOf")),
    ("shorter texts", {**TEXT, "maxLength": 5}, {**TEXT, "maxLength": 4}, ("", "maxLength")),
    ("longer texts only", TEXT, {**TEXT, "minLength": 1}, ("", "minLength")),
    ("a pattern", TEXT, {**TEXT, "pattern": "^a"}, ("", "pattern")),
    ("another pattern", {**TEXT, "pattern": "^ab"}, {**TEXT, "pattern": "^a"}, ("", "pattern")),
    ("another alternative", {"anyOf": [TEXT, INTEGER]}, {"anyOf": [TEXT, list_of({})]},
     ("", "anyOf")),
    ("two may take it", opened("a", a=TEXT), {"oneOf": [opened("a", a=TEXT), opened("b", b={})]},
     ("", "oneOf")),
    ("a member required", opened(a=TEXT), opened("a", a=TEXT), ("/a", "required")),
    ("a member more, required", closed(a=TEXT), closed("b", a=TEXT, b=TEXT), ("/b", "required")),
    ("a member's type", closed(a=TEXT), closed(a=INTEGER), ("/a", "type")),
    ("a member declared in an open object", opened(), opened(a=TEXT), ("/a", "type")),
    ("a member of a closed object gone", closed(a=TEXT), closed(), ("/a", "falseSchema")),
    ("open became closed", opened(), closed(), ("/*", "falseSchema")),
    ("others narrowed", opened(), {**closed(), "additionalProperties": INTEGER}, ("/*", "type")),
    ("fewer members", {**opened(), "maxProperties": 2}, {**opened(), "maxProperties": 1},
     ("", "maxProperties")),
    ("more members", opened(), {**opened(), "minProperties": 1}, ("", "minProperties")),
    ("names by a rule", opened(), {**opened(), "propertyNames": {**TEXT, "maxLength": 1}},
     ("", "propertyNames")),
    ("items", list_of(TEXT), list_of(INTEGER), ("/*", "type")),
    ("fewer items", list_of(TEXT, maxItems=2), list_of(TEXT, maxItems=1), ("", "maxItems")),
    ("more items", list_of(TEXT), list_of(TEXT, minItems=1), ("", "minItems")),
    ("each once", list_of(TEXT), list_of(TEXT, uniqueItems=True), ("", "uniqueItems")),
    ("an item that is asked for", list_of({}), {"type": "array", "contains": TEXT},
     ("", "contains")),
    ("deep inside", closed(a=list_of(closed(b=TEXT))), closed(a=list_of(closed(b=INTEGER))),
     ("/a/*/b", "type")),
    ("excluded", {}, {"not": {"const": "a"}}, ("", "not")),
    ("in a tree", to("Wider"), to("Tree"), ("/n", "falseSchema")),
]  # fmt: skip
DEFINITIONS: Mapping[str, Schema] = {
    "Count": INTEGER,
    "Tree": TREE,
    "Wider": closed("children", children=list_of(to("Wider")), n=INTEGER),
}


@pytest.mark.parametrize(("narrow", "wide"), [pytest.param(*c[1:], id=c[0]) for c in INCLUDED])
def test_an_ordinary_change_takes_all_that_was_taken(narrow: Schema, wide: Schema) -> None:
    assert Inclusion(DEFINITIONS, DEFINITIONS).excess(narrow, wide) == []


@pytest.mark.parametrize(
    ("narrow", "wide", "expected"), [pytest.param(*c[1:], id=c[0]) for c in EXCEEDS]
)
def test_what_is_too_much_is_named(
    narrow: Schema, wide: Schema, expected: tuple[str, str]
) -> None:
    found = Inclusion(DEFINITIONS, DEFINITIONS).excess(narrow, wide)
    assert [(excess.pointer, excess.rule) for excess in found] == [expected]


def test_what_no_rule_can_tell_says_so() -> None:
    found = Inclusion({}, {}).excess({**TEXT, "pattern": "^ab"}, {**TEXT, "pattern": "^a"})
    assert [(excess.certain, excess.message) for excess in found] == [
        (False, "whether ^a takes all of ^ab")
    ]


def test_schemas_of_too_many_alternatives_are_given_up_on() -> None:
    parts = [closed("k", k={"const": n}, m=opened(a={"const": n})) for n in range(200)]
    narrow = {"allOf": [{"anyOf": parts}, {"anyOf": [opened("z", z=TEXT), opened(y=TEXT)]}]}
    wide = {"oneOf": [closed("k", k={"const": -n}, m=opened(a=TEXT)) for n in range(200)]}
    [excess] = Inclusion({}, {}).excess(narrow, wide)
    assert (excess.rule, excess.certain) == ("too_many", False)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Any, Any, Any, Any]:
    """Draw a schema, another one made from it, and the definitions of each."""
    narrow, named = draw(schemas), draw(definitions)
    renamed = {name: draw(changed(schema)) for name, schema in named.items()}
    pair = (narrow, draw(changed(narrow)), named, renamed)
    return pair if draw(st.booleans()) else (pair[1], pair[0], pair[3], pair[2])


LOOKED_AT = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))


@LOOKED_AT
@given(pairs())
def test_whatever_is_called_included_is(pair: Any) -> None:
    narrow, wide, named, renamed = pair
    if Inclusion(named, renamed).excess(narrow, wide):
        event("not included")
        return
    taken, held = CompiledSchema("", narrow, named), CompiledSchema("", wide, renamed)
    among = [value for value in VALUES if taken.takes(value)]
    event("included" if among else "nothing to include")
    for value in among:
        assert held.takes(value), value


@LOOKED_AT
@given(pairs())
def test_a_reader_takes_at_least_what_the_schema_does(pair: Any) -> None:
    schema, _, named, _ = pair
    strict = CompiledSchema("", schema, named)
    opened_ = {name: as_read(each) for name, each in named.items()}
    reader = CompiledSchema("", {"allOf": [as_read(schema)]}, opened_)
    if "not" in str([schema, named]):
        return  # what is excluded is opened too where it is a definition: less is taken
    assert [value for value in VALUES if strict.takes(value) and not reader.takes(value)] == []
