from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest

from bridge.contracts.files import BUILT_IN, META, ROOT
from bridge.contracts.loading import subset

DATA: dict[str, Any] = json.loads((META / "subset.json").read_text(encoding="utf-8"))
PATTERNS = DATA["patterns"]["refused"]
REFUSED = [
    *DATA["refused_keywords"].items(),
    *DATA["rules"].items(),
    *(("pattern", entry) for entry in PATTERNS),
]
PROBED = [(rule, entry) for rule, entry in REFUSED if "probe" in entry]
JUDGED = [
    entry
    for entry in [*(entry for _, entry in PROBED), *DATA["cautions"]]
    if "jsonschema-rs" in entry["verdicts"]
]


def rules(schema: Any, *, request: bool = False) -> list[str]:
    definitions = schema.get("$defs", {}) if isinstance(schema, dict) else {}
    faults = subset().lint(schema, "", definitions, request=request)
    for name, definition in definitions.items():
        faults += subset().lint(definition, f"/$defs/{name}", definitions)
    return [fault.rule for fault in faults]


@pytest.mark.parametrize(("rule", "entry"), PROBED, ids=repr)
def test_every_refusal_of_the_data_refuses_its_own_probe(rule: str, entry: Any) -> None:
    assert rule in rules(entry["probe"]["schema"])


@pytest.mark.parametrize("entry", JUDGED, ids=lambda entry: json.dumps(entry["probe"]))
def test_the_verdicts_of_jsonschema_rs_are_what_the_data_says(entry: Any) -> None:
    try:
        validator = jsonschema_rs.Draft202012Validator(
            entry["probe"]["schema"],
            validate_formats=False,
            offline=True,
            pattern_options=jsonschema_rs.RegexOptions(),
        )
        verdict = "valid" if validator.is_valid(entry["probe"]["value"]) else "invalid"
    except jsonschema_rs.ValidationError:
        verdict = "error"
    assert verdict == entry["verdicts"]["jsonschema-rs"]


@pytest.mark.parametrize(("rule", "entry"), REFUSED, ids=repr)
def test_every_refusal_says_why_and_what_to_use_instead(rule: str, entry: Any) -> None:
    assert entry["why"]
    assert entry["instead"]


@pytest.mark.parametrize("entry", PATTERNS, ids=lambda entry: entry["construct"])
def test_the_message_names_the_refused_construct(entry: Any) -> None:
    if "probe" in entry:
        faults = list(subset().pattern(entry["probe"]["schema"]["pattern"], "/p"))
        assert [fault.pointer for fault in faults] == ["/p"]
        assert faults[0].message.startswith(f"{entry['construct']} at character ")


@pytest.mark.parametrize(
    "pattern",
    [
        "^[a-z][a-z0-9_.-]*$",
        "^(?:a|bc)+$",
        "^(a|b){2,3}x{4}y{5,}$",
        "^[^/~]+$",
        r"^\.\*\(\)\[\]\{\}\^\$\|\?\+\/\\$",
        r"^[\]\[\\\^-]$",
        "[.](ts|js)$",
        "",
    ],
)
def test_portable_patterns_pass(pattern: str) -> None:
    assert list(subset().pattern(pattern, "")) == []


@pytest.mark.parametrize(
    "pattern", ["a^b", "a$b", "é", "[é]", "[[]", "x]", "a{", "a**", r"\é", r"\-"]
)
def test_other_patterns_do_not(pattern: str) -> None:
    assert [fault.rule for fault in subset().pattern(pattern, "")] == ["pattern"]


def test_faults_are_found_however_deep_they_are() -> None:
    deep = {"type": "array", "items": {"anyOf": [{"not": {"format": "uuid"}}, {}]}}
    faults = subset().lint(deep, "/state", {})
    assert [(f.pointer, f.rule) for f in faults] == [
        ("/state/items/anyOf/0/not/format", "format")
    ]


def test_member_names_are_not_taken_for_keywords() -> None:
    members = {"format": {"type": "string"}, "if": {"type": "null"}, "$ref": {"type": "string"}}
    schema = {"type": "object", "additionalProperties": False, "properties": members}
    assert rules(schema) == []


def test_member_names_may_be_held_to_a_definition() -> None:
    names = {"propertyNames": {"$ref": "#/$defs/Name"}, "additionalProperties": True}
    definitions = {"Name": {"type": "string", "maxLength": 3}}
    assert subset().lint({"type": "object", **names}, "", definitions) == []


def test_what_stands_in_enum_const_default_and_examples_is_no_schema() -> None:
    odd = {"format": "x", "type": "object"}
    schema = {"enum": [odd], "const": odd, "examples": [odd]}
    assert rules(schema) == []


def test_a_default_is_taken_at_a_requests_own_members_only() -> None:
    inner = {"type": "integer", "default": 1}
    schema = {"type": "object", "additionalProperties": False, "properties": {"a": inner}}
    assert rules(schema, request=True) == []
    assert rules(schema) == ["default"]
    nested = {"type": "object", "additionalProperties": False, "properties": {"o": schema}}
    assert rules(nested, request=True) == ["default"]


@pytest.mark.parametrize(
    "file",
    [
        META / "effects.schema.json",
        META / "envelopes.schema.json",
        META / "scenarios.schema.json",
        *sorted(BUILT_IN.glob("*/subsystem.json")),
        ROOT / "tests/subsystems/counter/subsystem.json",
    ],
    ids=lambda file: f"{file.parent.name}/{file.name}",
)
def test_the_schemas_that_other_languages_read_are_inside_the_subset(file: Any) -> None:
    definitions = json.loads(file.read_text(encoding="utf-8"))["$defs"]
    for name, schema in definitions.items():
        assert subset().lint(schema, f"/$defs/{name}", definitions, request=True) == []
