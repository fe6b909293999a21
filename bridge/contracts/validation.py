"""Values held to compiled JSON Schemas; a violation names pointer, rule and types. No I/O here.

Validators compile once, when contracts are loaded: a check of a good value is one call into
jsonschema-rs, and only a bad one pays for its report. `format` is not asserted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jsonschema_rs

from bridge.canonical import escape, json_type
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
        whole = {**schema, "$schema": DIALECT, "$defs": dict(definitions)}
        try:
            self._validator = jsonschema_rs.Draft202012Validator(
                whole,
                validate_formats=False,
                offline=True,
                # Rust's plain engine takes time linear in the text: no pattern can stall it.
                pattern_options=jsonschema_rs.RegexOptions(),
            )
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
            raise _bad_schema(error) from None

    def violation(self, value: Any, pointer: str = "") -> Violation | None:
        """Return the first broken rule, or None. `pointer` is where `value` is in the whole."""
        if self._validator.is_valid(value):
            return None
        return _violation(self.contract, value, next(self._validator.iter_errors(value)), pointer)


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


def _violation(
    contract: str, value: Any, error: jsonschema_rs.ValidationError, prefix: str
) -> Violation:
    while (meant := _meant(error)) is not None:
        error = meant
    path = list(error.instance_path)
    rule, said = error.kind.name, getattr(error.kind, "value", None)
    actual = value
    for token in path:
        actual = actual[token]
    expected: Any = _EXPECTED.get(rule, said)
    if rule == "required":
        expected = f"member {said!r}"
    elif rule == "type" and isinstance(said, list) and len(said) == 1:
        expected = said[0]
    elif rule == "additionalProperties" and isinstance(said, list) and said:
        # Point at the member that is too many rather than at the object around it.
        unexpected = sorted(map(str, said))[0]
        path.append(unexpected)
        actual = actual[unexpected]
    return Violation(contract, prefix + pointer_of(path), rule, expected, json_type(actual))


def _meant(error: jsonschema_rs.ValidationError) -> jsonschema_rs.ValidationError | None:
    """Return what is wrong with the one alternative the value is meant to be, None if unclear."""
    at = len(error.instance_path)
    meant = [errors for errors in _alternatives(error) if not _is_another(errors, at)]
    return meant[0][0] if len(meant) == 1 else None


def _is_another(errors: list[jsonschema_rs.ValidationError], at: int) -> bool:
    """Say whether the value is meant to be another alternative than the one with these errors.

    It is if its type differs, or a `const` of the value itself or of its members, as tags are.
    """
    for error in errors:
        kind, depth = error.kind.name, len(error.instance_path)
        another = (kind == "type" and depth == at) or (kind == "const" and depth <= at + 1)
        below = _alternatives(error) if depth == at else []
        if another or (below and all(_is_another(each, at) for each in below)):
            return True
    return False


def _alternatives(
    error: jsonschema_rs.ValidationError,
) -> list[list[jsonschema_rs.ValidationError]]:
    """Return what is wrong with each alternative of an `anyOf` or `oneOf` that none satisfied."""
    kind, kinds = error.kind, jsonschema_rs.ValidationErrorKind
    return kind.context if isinstance(kind, kinds.AnyOf | kinds.OneOfNotValid) else []


# Where the keyword's own value would say nothing, or repeat the value that was checked.
_EXPECTED = {
    "additionalProperties": "no member of this name",
    "falseSchema": "nothing here",
    "anyOf": "one of the alternatives",
    "oneOf": "exactly one of the alternatives",
    "not": "what the schema does not exclude",
    "uniqueItems": "each item once",
    "propertyNames": "member names by the rule for them",
    "contains": "an item by the rule for one",
}


def _bad_schema(error: Exception) -> BadSchema:
    if isinstance(error, jsonschema_rs.ValidationError):
        text = error.message.splitlines()[0]
        return BadSchema(list(error.instance_path), error.kind.name, text)
    return BadSchema([], "$ref", str(error))
