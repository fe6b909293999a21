"""A schema of the subset as alternatives of plain keywords, and what these say. No I/O here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import lcm
from typing import Any

Schema = Mapping[str, Any] | bool
TYPES = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})
# Unions that multiply to more are left out: what is then left takes more, which is safe.
MAX_CASES = 512
_TOGETHER = ("$ref", "allOf", "anyOf", "oneOf", "not")


@dataclass(frozen=True, slots=True)
class Excess:
    """What a narrow schema takes and a wide one does not; not `certain`: or no rule could tell.

    `pointer` leads to it within a value; `*` is any item, or any member without a declaration.
    """

    pointer: str
    rule: str
    message: str
    certain: bool = True


@dataclass(frozen=True, slots=True)
class Case:
    """Keywords that hold together; values that a schema of `nots` takes are not among them."""

    nodes: tuple[Mapping[str, Any], ...] = ()
    nots: tuple[Schema, ...] = ()

    def __and__(self, other: Case) -> Case:
        return Case(self.nodes + other.nodes, self.nots + other.nots)

    def types(self) -> list[str]:
        """Return the types its values may have, each value's one of them."""
        left = set(TYPES)
        for node in self.nodes:
            if "type" in node:
                left &= _widened(node["type"])
        for schema in self.nots:
            if isinstance(schema, Mapping) and _is_bare(schema):
                left -= _widened(schema["type"])
        if "number" in left:
            left.discard("integer")  # which are numbers
        return sorted(left)

    def of(self, type_: str) -> Facts:
        return Facts(type_, self.nodes, self.nots)


def cases(schema: Schema, definitions: Mapping[str, Schema]) -> list[Case]:
    """Return alternatives whose values together are all that the schema takes, or more."""
    if isinstance(schema, bool):
        return [Case()] if schema else []
    plain = {keyword: said for keyword, said in schema.items() if keyword not in _TOGETHER}
    found = [Case((plain,))] if plain else [Case()]
    if "$ref" in schema:
        found = _all([found, cases(target(schema, definitions), definitions)])
    for part in schema.get("allOf", ()):
        found = _all([found, cases(part, definitions)])
    if "not" in schema:
        found = _all([found, [Case((), tuple(_excluded(schema["not"])))]])
    if "anyOf" in schema:
        found = _all([found, [c for part in schema["anyOf"] for c in cases(part, definitions)]])
    if "oneOf" in schema:
        parts = schema["oneOf"]
        exactly = [
            case & Case((), tuple(other for other in parts if other is not part))
            for part in parts
            for case in cases(part, definitions)
        ]
        found = _all([found, exactly])
    return found


def target(schema: Mapping[str, Any], definitions: Mapping[str, Schema]) -> Schema:
    """Return what a `$ref` names."""
    return definitions[schema["$ref"].removeprefix("#/$defs/")]


def _all(groups: Sequence[list[Case]]) -> list[Case]:
    first, second = groups
    if len(first) * len(second) > MAX_CASES:
        return first
    return [one & other for one in first for other in second]


def _excluded(schema: Schema) -> Iterator[Schema]:
    """Yield schemas none of which may hold, for one that may not."""
    if isinstance(schema, Mapping) and schema.keys() == {"anyOf"}:
        for part in schema["anyOf"]:
            yield from _excluded(part)
    else:
        yield schema


def _widened(types: str | list[str]) -> set[str]:
    """Return types as sets of values: integers are numbers too."""
    named = {types} if isinstance(types, str) else set(types)
    return named | {"integer"} if "number" in named else named


def _is_bare(schema: Mapping[str, Any]) -> bool:
    """Tell whether a schema asks for a type, and nothing else."""
    rest = {keyword: said for keyword, said in schema.items() if keyword != "type"}
    return "type" in schema and rest in ({}, {"additionalProperties": True})


@dataclass(frozen=True, slots=True)
class Facts:
    """What the keywords of a case say about values of one type, taken together."""

    type: str
    nodes: tuple[Mapping[str, Any], ...]
    nots: tuple[Schema, ...]

    def said(self, keyword: str) -> list[Any]:
        return [node[keyword] for node in self.nodes if keyword in node]

    def finite(self) -> list[Any] | None:
        """Return values among which all of the case's are, None if they are not listed."""
        if self.type == "null":
            return [None]
        if self.type == "boolean":
            return [False, True]
        listed = [[value] for value in self.said("const")] + self.said("enum")
        return min(listed, key=len, default=None)

    # -- numbers: a bound, and whether it is itself left out ----------------------------------
    def low(self) -> tuple[int, bool] | None:
        found = [(value, False) for value in self.said("minimum")]
        found += [(value, True) for value in self.said("exclusiveMinimum")]
        if self.type == "integer":
            found = [(value + strict, False) for value, strict in found]
        return max(found, default=None)

    def high(self) -> tuple[int, bool] | None:
        found = [(-value, False) for value in self.said("maximum")]
        found += [(-value, True) for value in self.said("exclusiveMaximum")]
        if self.type == "integer":
            found = [(value + strict, False) for value, strict in found]
        most = max(found, default=None)
        return None if most is None else (-most[0], most[1])

    def step(self) -> int:
        """Return the number of which all are multiples; 1 says nothing."""
        return lcm(*self.said("multipleOf"))

    # -- sizes ---------------------------------------------------------------------------------
    def least(self, keyword: str) -> int:
        implied = 0
        if keyword == "minItems" and self.said("contains"):
            implied = 1
        elif keyword == "minProperties":
            implied = len(self.required())
        sizes: list[int] = [*self.said(keyword), implied]
        return max(sizes)

    def most(self, keyword: str) -> int | None:
        return min(self.said(keyword), default=None)

    # -- members -------------------------------------------------------------------------------
    def required(self) -> list[str]:
        return list(dict.fromkeys(name for names in self.said("required") for name in names))

    def declared(self) -> list[str]:
        return list(dict.fromkeys(name for each in self.said("properties") for name in each))

    def member(self, name: str | None) -> list[Schema]:
        """Return what a member is held to; None: one that is declared nowhere."""
        held = []
        for node in self.nodes:
            own = node.get("properties", {})
            rest = node.get("additionalProperties", True)
            held.append(own[name] if name is not None and name in own else rest)
        return [schema for schema in held if schema is not True]


def together(schemas: Iterable[Schema]) -> Schema:
    """Return one schema that asks for all of these."""
    found = list(schemas)
    return found[0] if len(found) == 1 else {"allOf": found} if found else True
