"""Verdicts of draft-07 on the original, and of 2020-12 on what came of it."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.contracts.importing import import_schema, name_for
from bridge.contracts.loading import subset
from bridge.contracts.patterns import rewrite
from bridge.contracts.validation import CompiledSchema
from tests.contracts.verdicts import LATER, after, apart, before, found, imported, written

NAMES = ["a", "b", "ab", "x1"]
TEXTS = st.text(alphabet="ab1x_- \t\n.é😀A", max_size=4)
PATTERNS = [
    *("^a", "b$", "^a|b$", "^x[0-9]$", "", ".*", "^[^b]*$", r"^\d+$", r"\W", r"[\s\S]", "a|b"),
    *(
        r"^[^\n]$",
        r"^\S+$",
        "^a.b$",
        r"\s",
        r"^[^\s]b?",
        "é",
        r"^\x61",
        "a{2,}",
        "(ab)+?",
        r"\ba",
        "^(?!a)",
    ),
]
FORMATS = ["date", "ipv4", "json-pointer", "uuid", "date-time", "email"]


scalars = st.one_of(
    st.sampled_from([None, True, False, 0, 1, 2, 3, 4, 6, -1, 0.5, 1.5, "", "a", "ab", "x1"]),
    TEXTS,
)
values = st.recursive(
    scalars,
    lambda below: (
        st.lists(below, max_size=4)
        | st.dictionaries(st.sampled_from(NAMES) | TEXTS, below, max_size=4)
    ),
    max_leaves=8,
)
types = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])
bounds = st.integers(-1, 4) | st.sampled_from([0.5, 1.5, 2.5])
sizes = st.integers(0, 3)


def schemas(below: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return schemas of every keyword around other schemas."""
    names = st.lists(st.sampled_from(NAMES), max_size=3, unique=True)
    some = st.lists(below, min_size=1, max_size=3)
    keywords: dict[str, st.SearchStrategy[Any]] = {
        "type": types | st.lists(types, min_size=1, max_size=4, unique=True),
        "enum": st.lists(values, min_size=1, max_size=4),
        "const": values,
        "minimum": bounds,
        "maximum": bounds,
        "exclusiveMinimum": bounds,
        "exclusiveMaximum": bounds,
        "multipleOf": st.sampled_from([1, 2, 3, 0.5, 1.5]),
        "minLength": sizes,
        "maxLength": sizes,
        "pattern": st.sampled_from(PATTERNS),
        "format": st.sampled_from(FORMATS),
        "items": below | st.lists(below, min_size=1, max_size=3),
        "additionalItems": below,
        "minItems": sizes,
        "maxItems": sizes,
        "uniqueItems": st.booleans(),
        "contains": below,
        "properties": st.dictionaries(st.sampled_from(NAMES), below, max_size=3),
        "required": names,
        "additionalProperties": below,
        "patternProperties": st.dictionaries(st.sampled_from(PATTERNS), below, max_size=2),
        "propertyNames": below,
        "minProperties": sizes,
        "maxProperties": sizes,
        "dependencies": st.dictionaries(st.sampled_from(NAMES), names | below, max_size=2),
        "allOf": some,
        "anyOf": some,
        "oneOf": some,
        "not": below,
        "if": below,
        "then": below,
        "else": below,
        "$ref": st.sampled_from(["#/definitions/one", "#/definitions/two"]),
    }
    chosen = st.lists(st.sampled_from(sorted(keywords)), max_size=5, unique=True)
    return chosen.flatmap(lambda some: st.fixed_dictionaries({k: keywords[k] for k in some}))


anything: st.SearchStrategy[Any] = st.recursive(
    st.booleans() | st.builds(dict), schemas, max_leaves=6
)
leaves: st.SearchStrategy[Any] = st.recursive(st.builds(dict), schemas, max_leaves=2).filter(
    lambda schema: "$ref" not in json.dumps(schema)
)
documents = st.builds(
    lambda whole, one, two: {"allOf": [whole], "definitions": {"one": one, "two": two}},
    anything,
    leaves,
    leaves,
)


@settings(max_examples=250, suppress_health_check=list(HealthCheck), deadline=None)
@given(documents, st.lists(values, min_size=12, max_size=12))
def test_verdicts_stay_and_where_a_finding_says_so_more_is_taken(
    schema: Any, tried: list[Any]
) -> None:
    made, meant = imported(schema), apart(schema)
    assert made.of("refused") == []
    for value in tried:
        was, is_ = before(meant, value), after(made, value)
        if made.of("loosened"):
            assert is_ or not was, (value, made)
        else:
            assert is_ == was, (value, made)


@given(
    st.sampled_from(PATTERNS)
    | st.lists(
        st.sampled_from([*"ab.^$|*+?()-]", r"\d", r"\S", r"\W", "[^a]", r"[a-c\s]", "(?:", r"\n"])
    ).map("".join),
    TEXTS,
)
@settings(max_examples=500, deadline=None)
def test_a_pattern_written_again_matches_the_same_or_more(pattern: str, text: str) -> None:
    made = rewrite(pattern)
    if made is None:
        return
    assert list(subset().pattern(made.pattern, "")) == []
    try:
        was = before({"pattern": pattern}, text)
    except jsonschema_rs.ValidationError:
        return
    is_ = CompiledSchema("", {"type": "string", "pattern": made.pattern}, {}).violation(text)
    assert (is_ is None) == was or (is_ is None and not made.exact)


@pytest.mark.parametrize(
    ("pattern", "is_", "exact"),
    [
        (r"^\d{4}(?:\.\d+)?Z$", r"^[0-9]{4}(?:\.[0-9]+)?Z$", True),
        ("^a$|^b$", "^(?:a|b)$", True),
        ("^a|b$", "^(?:a(?:[^a]|a)*|(?:[^a]|a)*b)$", True),
        (r"^[\w.-]+@(?<host>[a-z]+?)$", r"^[\-.0-9A-Z_a-z]+@(?:[a-z]+)$", True),
        (r"[\s\S]*", "(?:[^a]|a)*", True),
        (r"\x41\/\_", r"A\/_", True),
        (r"^\S[\s\S]*\S$|^\S$|^$", "^(?:[^ ](?:[^a]|a)*[^ ]|[^ ]|)$", False),
        (r"\s", "[^!-~]", False),
        (r"^[^\n]+$", "^(?:[^a]|a)+$", False),
        (r"\bé", "[^ -~]", False),
    ],
)
def test_patterns_become_what_reads_best(pattern: str, is_: str, exact: bool) -> None:
    made = rewrite(pattern)
    assert made is not None
    assert (made.pattern, made.exact) == (is_, exact)


@pytest.mark.parametrize("pattern", ["(?!a)", r"(a)\1", r"\p{L}", "a^b", "(^a)", "a{10000}", "("])
def test_some_patterns_have_no_counterpart(pattern: str) -> None:
    assert rewrite(pattern) is None


def test_formats_that_are_patterns_are_exactly_those() -> None:
    years = ["0000", "1900", "2000", "2023", "2024", "2100", "9996"]
    dates = [f"{y}-{m:02}-{d:02}" for y in years for m in range(14) for d in range(33)]
    octets = ["0", "9", "00", "01", "99", "100", "199", "249", "255", "256", "a", ""]
    addresses = [f"{a}.1.{b}.0" for a in octets for b in octets]
    texts = {
        "date": [*dates, "2023-1-01", "02023-01-01", "2023-01-01T", "", "٢023-01-01"],
        "ipv4": [*addresses, "1.2.3", "1.2.3.4.5", " 1.2.3.4", ""],
        "json-pointer": ["", "/", "/a~0b/é", "//", "a", "/~", "/~2", "/a~1", "#/a"],
    }
    for name, some in texts.items():
        schema = {"type": "string", "format": name}
        made = imported(schema)
        assert made.findings == ()
        for text in some:
            assert after(made, text) == before(schema, text), (name, text)


@pytest.mark.parametrize(
    ("schema", "is_"),
    [
        ({"const": 2}, {"type": "integer", "const": 2}),
        ({"type": "number", "enum": [1, 2]}, {"type": "integer", "enum": [1, 2]}),
        ({"enum": ["a", None]}, {"type": ["string", "null"], "enum": ["a", None]}),
        (
            {"type": ["string", "integer"]},
            {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        ),
        ({"type": "object"}, {"type": "object", "additionalProperties": True}),
        (
            {"type": "object", "anyOf": [{"required": ["a"]}]},
            {
                "type": "object",
                "additionalProperties": True,
                "anyOf": [
                    {
                        "type": "object",
                        "required": ["a"],
                        "additionalProperties": True,
                        "properties": {"a": {}},
                    }
                ],
            },
        ),
        (
            {"minLength": 1},
            {"anyOf": [{"type": "string", "minLength": 1}, {"not": {"type": "string"}}]},
        ),
        (
            {"type": "string", "allOf": [{"pattern": "^a"}]},
            {"type": "string", "allOf": [{"type": "string", "pattern": "^a"}]},
        ),
        ({"type": "number", "multipleOf": 5}, {"type": "integer", "multipleOf": 5}),
        ({"type": "integer", "minimum": 0.5}, {"type": "integer", "minimum": 1}),
        (
            {"type": "array", "items": [{"const": 1}, {"const": 1}], "additionalItems": False},
            {"type": "array", "items": {"type": "integer", "const": 1}, "maxItems": 2},
        ),
        (
            {
                "type": "object",
                "patternProperties": {"^x": {"type": "null"}},
                "additionalProperties": False,
            },
            {
                "type": "object",
                "additionalProperties": {"type": "null"},
                "propertyNames": {"type": "string", "pattern": "^x"},
            },
        ),
        (
            {"type": "string", "if": {"minLength": 2}, "then": {"const": "ab"}},
            {
                "type": "string",
                "anyOf": [
                    {"not": {"type": "string", "minLength": 2}},
                    {"type": "string", "const": "ab"},
                ],
            },
        ),
    ],
    ids=json.dumps,
)
def test_what_has_an_equivalent_is_written_as_that(schema: Any, is_: Any) -> None:
    assert written(schema) == is_
    assert not [finding for finding in found(schema) if finding[0] != "noted"]


@pytest.mark.parametrize(
    ("schema", "kind", "pointer"),
    [
        ({"type": "string", "format": "date-time"}, "loosened", "/format"),
        ({"type": "string", "pattern": "^(?!a)"}, "loosened", "/pattern"),
        ({"type": "string", "contentEncoding": "base64"}, "loosened", "/contentEncoding"),
        ({"type": "number", "multipleOf": 0.01}, "loosened", "/multipleOf"),
        ({"type": "number", "minimum": 0.5}, "loosened", "/minimum"),
        ({"type": "array", "items": [{"const": 1}, {"const": "a"}]}, "loosened", "/items"),
        (
            {"type": "object", "patternProperties": {"^x": {"type": "null"}}},
            "loosened",
            "/patternProperties",
        ),
        ({"not": {"type": "string", "format": "uri"}}, "loosened", "/not"),
        ({"oneOf": [{"type": "string", "format": "uri"}, {}]}, "loosened", "/oneOf"),
        ({"if": {"type": "string", "format": "uri"}, "then": False}, "loosened", "/if"),
        ({"type": "string", "nullable": True}, "loosened", "/nullable"),
        ({"unevaluatedProperties": False}, "loosened", "/unevaluatedProperties"),
        ({"type": "string", "default": "a"}, "noted", "/default"),
        ({"type": "string", "minimum": 1}, "noted", "/minimum"),
        ({"x-order": 1}, "noted", "/x-order"),
        ({"additionalItems": False, "items": {}}, "noted", "/additionalItems"),
        ({"$ref": "#/definitions/A", "definitions": {"A": {}}, "minimum": 1}, "noted", ""),
        ({"properties": {"toString": {}}}, "refused", "/properties/toString"),
        ({"items": {"$ref": "other.json#/A"}}, "refused", "/items/$ref"),
        ({"items": {"$ref": "#/definitions/B"}}, "refused", "/items/$ref"),
        ({"minimum": "a"}, "refused", "/minimum"),
        ({"$schema": "http://json-schema.org/draft-04/schema#"}, "refused", "/$schema"),
        ({**LATER, "type": "string", "format": "uuid"}, "noted", "/format"),
        ({**LATER, "contains": {}, "minContains": 2}, "loosened", "/minContains"),
        ({**LATER, "prefixItems": [{"const": 1}, {"const": "a"}]}, "loosened", "/items"),
        ({**LATER, "$dynamicRef": "#x"}, "loosened", "/$dynamicRef"),
        ({**LATER, "minimum": "a"}, "refused", "/minimum"),
        ({"allOf": [{"$ref": "#"}]}, "refused", "/$defs/Root/allOf/0/$ref of the result"),
    ],
    ids=json.dumps,
)
def test_what_is_not_as_it_was_is_told_with_its_pointer(
    schema: Any, kind: str, pointer: str
) -> None:
    assert (kind, pointer) in found(schema)


def test_every_finding_says_what_was_there_and_what_to_do() -> None:
    (finding,) = imported({"type": "string", "format": "uuid"}).findings
    assert finding.was == "format 'uuid'"
    assert "`pattern` ^[0-9a-f]{8}-" in finding.says


def test_a_not_around_a_reference_to_what_takes_more_is_left_out() -> None:
    schema = {
        "definitions": {"Mail": {"type": "string", "format": "email"}},
        "not": {"$ref": "#/definitions/Mail"},
    }
    assert ("loosened", "/not") in found(schema)
    assert written(schema) == {}


def test_names_are_not_excluded_by_a_pattern_that_matches_more() -> None:
    schema = {"type": "object", "patternProperties": {"^é$": False}}
    assert ("loosened", "/patternProperties") in found(schema)
    assert after(imported(schema), {"ü": 1})
    exact = {"type": "object", "patternProperties": {r"^\d$": False}}
    assert [kind for kind, _ in found(exact)] == []
    assert not after(imported(exact), {"1": 1})


def test_references_lead_to_definitions_wherever_they_led_before() -> None:
    schema = {
        "$id": "http://example.com/flow.json",
        "type": "object",
        "properties": {
            "flow-id": {"type": "string", "maxLength": 3},
            "other": {"$ref": "#/properties/flow-id"},
            "next": {"$ref": "http://example.com/flow.json#/definitions/a%20b"},
            "again": {"$ref": "#"},
        },
        "definitions": {"a b": {"type": "null"}, "aB": {"type": "boolean"}},
    }
    made = imported(schema)
    members = made.definitions["Root"]["properties"]
    assert members["other"] == {"$ref": "#/$defs/FlowId"}
    assert members["next"] == {"$ref": "#/$defs/AB"}
    assert members["again"] == {"$ref": "#/$defs/Root"}
    assert made.definitions["FlowId"] == {"type": "string", "maxLength": 3}
    assert (made.definitions["AB"], made.definitions["AB2"]) == (
        {"type": "null"},
        {"type": "boolean"},
    )


def test_a_file_that_is_one_reference_has_the_definitions_name() -> None:
    made = imported({"$ref": "#/$defs/Intent", "$defs": {"Intent": {"type": "null"}}})
    assert (made.root, made.definitions) == ("Intent", {"Intent": {"type": "null"}})


def test_a_file_of_definitions_has_no_root() -> None:
    made = imported({"definitions": {"A": {"const": True}}})
    assert (made.root, made.definitions) == (None, {"A": {"type": "boolean", "const": True}})


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("OutboundIntentV2", "OutboundIntentV2"),
        ("outbound-intent v2", "OutboundIntentV2"),
        ("2fa", "Schema2fa"),
        ("é", "Schema"),
        ("a" * 70, "A" + "a" * 63),
    ],
)
def test_names_are_made_to_fit(text: str, name: str) -> None:
    assert name_for(text) == name


@pytest.mark.parametrize(
    ("name", "pointer"),
    [("042", "/properties/042/type"), ("", "/properties//type"), ("~", "/properties/~0/type")],
)
def test_what_is_no_schema_is_pointed_at_whatever_the_members_name(
    name: str, pointer: str
) -> None:
    document = {"type": "object", "properties": {name: {"type": "sting"}}}
    (found,) = import_schema(document, "X", subset()).findings
    assert (found.pointer, found.kind) == (pointer, "refused")


@pytest.mark.parametrize(
    ("definitions", "pointer"),
    [({"description": "text"}, "/$defs/description"), ("text", "/$defs"), ({"": 1}, "/$defs/")],
)
def test_definitions_that_are_no_schemas_are_refused(definitions: Any, pointer: str) -> None:
    found = import_schema({"$defs": definitions, "type": "string"}, "X", subset()).findings
    assert [(each.pointer, each.kind) for each in found] == [(pointer, "refused")]
