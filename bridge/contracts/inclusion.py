"""Whether all that one schema takes, another takes as well. No I/O here.

Both are of the subset (contracts/meta/subset.json). An answer without an excess is a proof, by
rules that each look at one keyword of the wider schema; what no rule proves is an excess, also
where it may hold all the same. Values are finite, so a schema that leads back to itself through
a member or an item is proved by induction over the value's depth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from bridge.canonical import canonical
from bridge.contracts.cases import Case, Excess, Facts, Schema, cases, target, together
from bridge.contracts.keywords import NOTHING, RULES, Asked
from bridge.contracts.validation import CompiledSchema

MAX_STEPS = 20_000  # of one question; what takes more is not answered
MAX_LISTED = 64  # values of a member, or of a range, that are looked at one by one


class _TooMuch(Exception):
    """The question takes more steps than anybody waits for."""


class Inclusion:
    """Questions about two files' schemas: `$ref`s of the first are looked up in its `$defs`."""

    def __init__(self, narrow: Mapping[str, Schema], wide: Mapping[str, Schema]) -> None:
        """Take the `$defs` of the narrow and of the wide side."""
        self._definitions = {
            **{f"n.{name}": _renamed(schema, "n") for name, schema in narrow.items()},
            **{f"w.{name}": _renamed(schema, "w") for name, schema in wide.items()},
        }
        self._steps = 0
        self._valid: dict[bytes, CompiledSchema] = {}
        self._proved: set[bytes] = set()
        self._open: dict[bytes, int] = {}  # what is being proved, and how deep it began
        self._leant = 0  # how often something open was taken for proved

    def excess(self, narrow: Schema, wide: Schema) -> list[Excess]:
        """Return what keeps `narrow` from being part of `wide`; nothing: it is."""
        self._steps = 0
        try:
            found = self.excess_of(_renamed(narrow, "n"), _renamed(wide, "w"), "", 0)
        except (_TooMuch, RecursionError):
            self._open.clear()
            return [Excess("", "too_many", "there are too many alternatives", certain=False)]
        return _folded(found)

    # -- one schema in another -----------------------------------------------------------------
    def excess_of(self, narrow: Schema, wide: Schema, at: str, depth: int) -> list[Excess]:
        if wide is True or wide == {} or narrow is False or canonical(narrow) == canonical(wide):
            return []
        if wide is False:
            empty = self.empty(narrow, depth)
            return [] if empty else [Excess(at, "falseSchema", "it is not taken")]
        question = canonical([narrow, wide])
        if question in self._proved:
            return []
        if question in self._open:
            if self._open[question] < depth:  # about a part of the value: induction
                self._leant += 1
                return []
            return [Excess(at, "$ref", "the schema leads to itself", certain=False)]
        self._open[question] = depth
        leant = self._leant
        try:
            found = [
                excess
                for case in cases(narrow, self._definitions)
                for excess in self._case(case, wide, at, depth)
            ]
        finally:
            self._open.pop(question, None)
        if not found and leant == self._leant:
            self._proved.add(question)
        return found

    def _case(self, case: Case, wide: Schema, at: str, depth: int) -> Iterator[Excess]:
        for type_ in case.types():
            facts = case.of(type_)
            listed = self._listed(facts)
            if listed is None:
                yield from self.facts_in(facts, wide, at, depth)
                continue
            refused = [value for value in listed if not self.is_valid(wide, value)]
            if refused and refused == listed and type_ in ("null", "boolean"):
                yield Excess(at, "type", type_)
            else:
                for value in refused[:5]:
                    text = canonical(value).decode()
                    yield Excess(at, "enum", f"{text[:60]} is not taken")

    def facts_in(self, facts: Facts, wide: Schema, at: str, depth: int) -> list[Excess]:
        """Return what of one type's values is too much, by every keyword of the wide schema."""
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise _TooMuch
        if isinstance(wide, bool):
            found = [] if wide else [Excess(at, "falseSchema", "it is not taken")]
        else:
            found = [
                excess
                for keyword, said in wide.items()
                if keyword in RULES
                for excess in RULES[keyword](Asked(self, facts, wide, at, depth), said)
            ]
        return [] if found and self._is_empty(facts, depth) else found

    def _listed(self, facts: Facts) -> list[Any] | None:
        """Return all values of a case that has but a few, None if it has more."""
        values = facts.finite()
        if values is None and facts.type == "integer":
            low, high = facts.low(), facts.high()
            if low and high and high[0] - low[0] < MAX_LISTED:
                values = list(range(low[0], high[0] + 1))
        if values is None:
            return None
        whole = {"allOf": [{"type": facts.type}, *facts.nodes, *({"not": n} for n in facts.nots)]}
        return [value for value in values if self.is_valid(whole, value)]

    def is_valid(self, schema: Schema, value: Any) -> bool:
        text = canonical(schema)
        if text not in self._valid:
            whole = schema if isinstance(schema, Mapping) else {"allOf": [schema]}
            self._valid[text] = CompiledSchema("", whole, self._definitions)
        return self._valid[text].takes(value)

    # -- nothing at all ------------------------------------------------------------------------
    def empty(self, schema: Schema, depth: int) -> bool:
        """Tell whether no value is taken, as far as rules can tell."""
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise _TooMuch
        return all(self._nothing(case, depth) for case in cases(schema, self._definitions))

    def _nothing(self, case: Case, depth: int) -> bool:
        for type_ in case.types():
            facts = case.of(type_)
            listed = self._listed(facts)
            if listed if listed is not None else not self._is_empty(facts, depth):
                return False
        return True

    def _is_empty(self, facts: Facts, depth: int) -> bool:
        question = b"empty " + canonical([facts.type, *facts.nodes, *facts.nots])
        if question in self._open:
            return False
        self._open[question] = depth
        try:
            if any(not self.facts_in(facts, schema, "", depth) for schema in facts.nots):
                return True
            return facts.type in NOTHING and NOTHING[facts.type](self, facts, depth)
        finally:
            self._open.pop(question, None)

    def possible(self, facts: Facts, name: str, depth: int) -> bool:
        """Tell whether a value may have the member."""
        names = facts.said("propertyNames")
        if any(not self.is_valid(schema, name) for schema in names):
            return False
        return facts.most("maxProperties") != 0 and not self.empty(
            together(facts.member(name)), depth + 1
        )

    def names(self, facts: Facts, depth: int) -> tuple[list[str], bool]:
        """Return members that may be there by name, and whether there may be others."""
        names = facts.declared() + facts.required()
        others = facts.most("maxProperties") != 0
        if others and (schemas := facts.said("propertyNames")):
            listed = [
                case.of("string").finite()
                for case in cases(together(schemas), self._definitions)
                if "string" in case.types()
            ]
            if all(values is not None for values in listed):
                names += [value for values in listed for value in values or []]
                others = False
        others = others and not self.empty(together(facts.member(None)), depth + 1)
        return [n for n in dict.fromkeys(names) if self.possible(facts, n, depth)], others

    # -- alternatives --------------------------------------------------------------------------
    def alternatives(
        self, asked: Asked, parts: list[Schema], rule: str, room: int = MAX_LISTED
    ) -> list[Excess]:
        """Return nothing if one alternative takes all; of `oneOf` no other one may take any.

        If none does, a required member with few values tells them apart: at most `room` of all.
        """
        nearest = [Excess(asked.at, rule, "there are none")]
        for n, part in enumerate(parts):
            found = asked.among(part)
            if not found and rule == "oneOf":
                others = parts[:n] + parts[n + 1 :]
                if not all(self.apart(asked.facts, other, asked.depth) for other in others):
                    found = asked.excess(rule, "whether two of them take it", certain=False)
            if not found:
                return []
            nearest = min(nearest, found, key=_distance) if n else found
        if (split := self._split(asked.facts, room)) is not None:
            room //= len(split)
            each = (replace(asked, facts=facts) for facts in split)
            return [e for one in each for e in self.alternatives(one, parts, rule, room)]
        first = nearest[0]
        where = first.pointer or "(whole value)"
        text = f"no alternative takes it, the nearest breaks {first.rule} at {where}"
        return asked.excess(rule, text, certain=first.certain)

    def apart(self, facts: Facts, other: Schema, depth: int) -> bool:
        """Tell whether no value of a case is one of a schema."""
        mine = Case((*facts.nodes, {"type": facts.type}), facts.nots)
        return all(self._nothing(mine & case, depth) for case in cases(other, self._definitions))

    def _split(self, facts: Facts, room: int) -> list[Facts] | None:
        """Return a case for each value of a required member that has at most `room`."""
        for name in facts.required() if facts.type == "object" else ():
            values: dict[bytes, Any] = {}
            for case in cases(together(facts.member(name)), self._definitions):
                for type_ in case.types():
                    listed = self._listed(case.of(type_))
                    many = range(room + 1)
                    values |= {canonical(v): v for v in (many if listed is None else listed)}
            if 1 < len(values) <= room:
                said = [{"properties": {name: {"const": value}}} for value in values.values()]
                return [replace(facts, nodes=(*facts.nodes, node)) for node in said]
        return None

    def target(self, schema: Mapping[str, Any]) -> Schema:
        return target(schema, self._definitions)


def _distance(found: list[Excess]) -> tuple[bool, int]:
    """Tell how far an alternative is: one of another type, or with another tag, is not meant."""
    return any(excess.rule in ("type", "enum") for excess in found), len(found)


def _folded(found: list[Excess]) -> list[Excess]:
    """Return each excess once, and the types that are too much at one place as one."""
    types: dict[str, list[str]] = {}
    for excess in found:
        if excess.rule == "type" and excess.message not in types.setdefault(excess.pointer, []):
            types[excess.pointer].append(excess.message)
    whole = [
        replace(excess, message=f"{', '.join(types[excess.pointer])}: not taken")
        if excess.rule == "type"
        else excess
        for excess in found
    ]
    return list(dict.fromkeys(whole))


def _renamed(schema: Any, side: str) -> Any:
    """Return a schema whose `$ref`s name its own side's definitions; nothing but assertions."""
    if not isinstance(schema, Mapping):
        return schema
    made: dict[str, Any] = {}
    for keyword, said in schema.items():
        match keyword:
            case "$ref":
                made["$ref"] = f"#/$defs/{side}.{said.removeprefix('#/$defs/')}"
            case "properties":
                made[keyword] = {name: _renamed(below, side) for name, below in said.items()}
            case "allOf" | "anyOf" | "oneOf":
                made[keyword] = [_renamed(below, side) for below in said]
            case "items" | "contains" | "additionalProperties" | "propertyNames" | "not":
                made[keyword] = _renamed(said, side)
            case "title" | "description" | "$comment" | "deprecated" | "examples" | "default":
                pass
            case _:
                made[keyword] = said
    return made
