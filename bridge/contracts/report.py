"""Where a value breaks its schema, and which rule: the walk behind every report. No I/O here.

The verdict is jsonschema-rs's, also about each part on the way; here is only the way. Its own
reports lose empty names and leading zeros, and write out every alternative of every level: 17 s
for sixteen levels of an `anyOf` that comes back to itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# Whether a value is valid under a schema, whose `$ref`s name the file's definitions.
Valid = Callable[[Mapping[str, Any], Any], bool]
# A level of the walk reads the whole part below it: of a large value only the upper levels.
MAX_READ = 1_000_000

# In the order in which their faults help most; those below look into members and items.
_OWN = (
    "type",
    "const",
    "enum",
    "required",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "propertyNames",
    "uniqueItems",
    "contains",
    "not",
)


@dataclass(frozen=True, slots=True)
class Broken:
    """The first broken rule; `path` leads to the value, `said` is what its keyword says."""

    path: tuple[str | int, ...]
    rule: str
    said: Any
    actual: Any


class Report:
    """Finds the broken rule of a value that is not valid."""

    def __init__(self, definitions: Mapping[str, Any], valid: Valid) -> None:
        self._definitions = definitions
        self._valid = valid

    def broken(self, schema: Any, value: Any) -> Broken:
        """Return the first broken rule; of a value that breaks none, its schema as a whole."""
        path: tuple[str | int, ...] = ()
        for _ in range(max(4, MAX_READ // _size(value, MAX_READ))):
            schema = self._resolved(schema)
            found = self._own(schema, value, path)
            if found is not None:
                return found
            step = next(self._below(schema, value), None)
            if step is None:
                return Broken(path, *self._unclear(schema, value), value)
            token, schema, value = step
            path = path if token is None else (*path, token)
        return Broken(path, "schema", None, value)

    def _own(self, schema: Any, value: Any, path: tuple[str | int, ...]) -> Broken | None:
        """Return the rule about the value itself that it breaks, None if that is not it."""
        if schema is False:
            return Broken(path, "falseSchema", None, value)
        for rule in _OWN:
            if not self._holds(schema, rule, value):
                said = schema[rule]
                if rule == "required":
                    said = next(name for name in said if name not in value)
                if rule == "propertyNames":
                    for name in value:
                        if not self._valid_part(said, name):
                            return Broken((*path, name), rule, said, name)
                return Broken(path, rule, said, value)
        if schema.get("additionalProperties") is False and isinstance(value, dict):
            for name in sorted(value.keys() - schema.get("properties", {}).keys()):
                return Broken((*path, name), "additionalProperties", name, value[name])
        return None

    def _below(
        self, schema: Mapping[str, Any], value: Any
    ) -> Iterator[tuple[str | int | None, Any, Any]]:
        """Yield the parts that are not valid: a token or None for the value itself."""
        for token, part, below in _parts(schema, value):
            if not self._valid_part(below, part):
                yield token, below, part
        for below in schema.get("allOf", []):
            if not self._valid_part(below, value):
                yield None, below, value
        for rule in ("anyOf", "oneOf"):
            alternatives = schema.get(rule, [])
            if not any(self._valid_part(below, value) for below in alternatives):
                seen: dict[int, bool] = {}
                meant = [a for a in alternatives if not self._is_another(a, value, seen)]
                if len(meant) == 1:
                    yield None, meant[0], value

    def _unclear(self, schema: Mapping[str, Any], value: Any) -> tuple[str, Any]:
        for rule in ("anyOf", "oneOf"):
            if not self._holds(schema, rule, value):
                return rule, None
        return "schema", None

    def _is_another(self, schema: Any, value: Any, seen: dict[int, bool]) -> bool:
        """Say whether the value is meant to be another alternative than this one.

        It is if its type differs, or a `const` of the value itself or of its members, as tags
        are. `seen` keeps answers: alternatives may name the same definition again and again.
        """
        schema = self._resolved(schema)
        if not isinstance(schema, Mapping):
            return schema is False
        if id(schema) not in seen:
            alternatives = schema.get("anyOf") or schema.get("oneOf") or []
            seen[id(schema)] = (
                not self._holds(schema, "type", value)
                or not all(self._holds(tag, "const", part) for tag, part in _tags(schema, value))
                or (
                    bool(alternatives)
                    and all(self._is_another(a, value, seen) for a in alternatives)
                )
            )
        return seen[id(schema)]

    def _holds(self, schema: Any, rule: str, value: Any) -> bool:
        schema = self._resolved(schema)
        if not isinstance(schema, Mapping) or rule not in schema:
            return True
        return self._valid({rule: schema[rule]}, value)

    def _valid_part(self, schema: Any, value: Any) -> bool:
        return schema if isinstance(schema, bool) else self._valid(schema, value)

    def _resolved(self, schema: Any) -> Any:
        while isinstance(schema, Mapping) and "$ref" in schema:
            schema = self._definitions[schema["$ref"].removeprefix("#/$defs/")]
        return schema


def _tags(schema: Mapping[str, Any], value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield what may have a `const` that tells alternatives apart: the value and its members."""
    yield schema, value
    if isinstance(value, dict):
        for name, member in schema.get("properties", {}).items():
            if name in value:
                yield member, value[name]


def _parts(schema: Mapping[str, Any], value: Any) -> Iterator[tuple[str | int, Any, Any]]:
    """Yield each member and item with its token and the schema it is held to."""
    if isinstance(value, dict):
        declared = schema.get("properties", {})
        for name, part in value.items():
            if name in declared:
                yield name, part, declared[name]
            elif "additionalProperties" in schema:
                yield name, part, schema["additionalProperties"]
    elif isinstance(value, list) and "items" in schema:
        for n, part in enumerate(value):
            yield n, part, schema["items"]


def _size(value: Any, most: int) -> int:
    """Count the values within one, up to `most`."""
    count, open_ = 1, [value]
    while open_ and count < most:
        part = open_.pop()
        if isinstance(part, dict | list):
            count += len(part)
            open_.extend(part.values() if isinstance(part, dict) else part)
    return count
