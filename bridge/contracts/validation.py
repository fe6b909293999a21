"""Values held to compiled JSON Schemas; a violation names pointer, rule and types. No I/O here.

Validators compile once, when contracts are loaded: a check of a good value is one call into
jsonschema-rs, and only a bad one pays for its report. `format` is not asserted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jsonschema_rs

from bridge.canonical import escape, json_type
from bridge.contracts.report import Report
from bridge.errors import Violation

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class BadSchema(Exception):
    """A schema that is not JSON Schema 2020-12; `path` leads to the place."""

    def __init__(self, path: Sequence[str | int], rule: str, message: str) -> None:
        super().__init__(message)
        self.path = list(path)
        self.rule = rule
        self.message = message


class CompiledSchema:
    """One schema of a contract, with the definitions its `$ref`s name."""

    def __init__(
        self, contract: str, schema: Mapping[str, Any], definitions: Mapping[str, Any]
    ) -> None:
        """Compile. `contract` is what violations name. Raises BadSchema."""
        self.contract = contract
        self._schema, self._definitions = schema, definitions
        self._validator = _compiled(schema, definitions)
        self._parts: dict[tuple[tuple[str, int], ...], jsonschema_rs.Draft202012Validator] = {}

    def takes(self, value: Any) -> bool:
        return self._validator.is_valid(value)

    def violation(self, value: Any, pointer: str = "") -> Violation | None:
        """Return the first broken rule, or None. `pointer` is where `value` is in the whole."""
        if self.takes(value):
            return None
        broken = Report(self._definitions, self._is_valid).broken(self._schema, value)
        said = broken.said
        expected = f"member {said!r}" if broken.rule == "required" else said
        return Violation(
            self.contract,
            pointer + pointer_of(broken.path),
            broken.rule,
            _EXPECTED.get(broken.rule, expected),
            json_type(broken.actual),
        )

    def _is_valid(self, part: Mapping[str, Any], value: Any) -> bool:
        """Judge by a part of the schema: compiled when a report first asks, then kept."""
        # What the keywords say lives as long as the schema does, so that its ids are its own.
        name = tuple((keyword, id(said)) for keyword, said in part.items())
        if name not in self._parts:
            self._parts[name] = _compiled(part, self._definitions)
        return self._parts[name].is_valid(value)


def _compiled(
    schema: Mapping[str, Any], definitions: Mapping[str, Any]
) -> jsonschema_rs.Draft202012Validator:
    whole = {**schema, "$schema": DIALECT, "$defs": dict(definitions)}
    try:
        return jsonschema_rs.Draft202012Validator(
            whole,
            validate_formats=False,
            offline=True,
            # Rust's plain engine takes time linear in the text: no pattern can stall it.
            pattern_options=jsonschema_rs.RegexOptions(),
        )
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
        raise _bad_schema(whole, error) from None


def place_of(document: Any, error: jsonschema_rs.ValidationError) -> list[str | int]:
    """Return the path to what an error of jsonschema-rs is about, within the whole document.

    Its own path has no empty names, and names of digits as numbers.
    """
    whole = _places(document, list(error.instance_path))
    return next((path for path, part in whole if part == error.instance), [])


def _places(value: Any, told: list[str | int]) -> Iterator[tuple[list[str | int], Any]]:
    """Yield each path that such a path may stand for, with what is there."""
    if not told:
        yield [], value
    members = value if isinstance(value, dict) else {}
    names = [name for name in members if told and name and _is_told(name, told[0])]
    steps = [(name, members[name], told[1:]) for name in names]
    if "" in members:
        steps.append(("", members[""], told))
    if told and isinstance(value, list) and isinstance(told[0], int):
        yield from (([told[0], *path], part) for path, part in _places(value[told[0]], told[1:]))
    for name, below, left in steps:
        yield from (([name, *path], part) for path, part in _places(below, left))


def _is_told(name: str, token: str | int) -> bool:
    number = name.isascii() and name.isdecimal()
    return name == token or (number and isinstance(token, int) and int(name) == token)


def pointer_of(path: Sequence[str | int]) -> str:
    """Return the RFC 6901 pointer of a path of keys and indices."""
    return "".join(f"/{escape(str(token))}" for token in path)


def resolve(value: Any, pointer: str) -> Any:
    """Return what a pointer names inside a value, None if there is nothing."""
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and name.isascii() and name.isdecimal():
            value = value[int(name)] if int(name) < len(value) else None
        else:
            return None
    return value


# Where the keyword's own value would say nothing, or repeat the value that was checked.
_EXPECTED = {
    "additionalProperties": "no member of this name",
    "falseSchema": "nothing here",
    "anyOf": "one of the alternatives",
    "oneOf": "exactly one of the alternatives",
    "not": "what the schema does not exclude",
    "uniqueItems": "each item once",
    "schema": "a value by its schema",
    "propertyNames": "member names by the rule for them",
    "contains": "an item by the rule for one",
}


def _bad_schema(whole: Mapping[str, Any], error: Exception) -> BadSchema:
    if isinstance(error, jsonschema_rs.ValidationError):
        text = error.message.splitlines()[0]
        return BadSchema(place_of(whole, error), error.kind.name, text)
    return BadSchema([], "$ref", str(error))
