"""For each keyword, when all values of a case keep it, and when there are none. No I/O here.

The rules of `bridge.contracts.inclusion`: one looks at a keyword of the wide schema and says
what of the narrow case may be too much. Whatever a rule cannot prove is an excess.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bridge.canonical import escape
from bridge.contracts.cases import Excess, Facts, Schema, together

if TYPE_CHECKING:
    from bridge.contracts.inclusion import Inclusion


@dataclass(frozen=True, slots=True)
class Asked:
    """One question: whether all of `facts` keep what a keyword of `wide` says."""

    of: Inclusion
    facts: Facts
    wide: Mapping[str, Any]
    at: str
    depth: int

    def excess(self, rule: str, message: str, *, certain: bool = True) -> list[Excess]:
        return [Excess(self.at, rule, message, certain)]

    def below(self, narrow: list[Schema], wide: Schema, step: str) -> list[Excess]:
        """Ask about a part of the value: a member or an item."""
        return self.of.excess_of(together(narrow), wide, f"{self.at}/{step}", self.depth + 1)

    def among(self, schema: Schema) -> list[Excess]:
        """Ask about the same value."""
        return self.of.facts_in(self.facts, schema, self.at, self.depth)


Rule = Callable[[Asked, Any], list[Excess]]


def _ref(asked: Asked, said: str) -> list[Excess]:
    return asked.among(asked.of.target(asked.wide))


def _type(asked: Asked, said: str | list[str]) -> list[Excess]:
    types, own = [said] if isinstance(said, str) else said, asked.facts.type
    if own in types or (own == "integer" and "number" in types):
        return []
    return asked.excess("type", own)


def _listed(asked: Asked, said: Any) -> list[Excess]:
    return asked.excess("enum", f"only listed values are taken, not any {asked.facts.type}")


def _bound(keyword: str, *, least: bool) -> Rule:
    strict = keyword.startswith("exclusive")

    def rule(asked: Asked, said: int) -> list[Excess]:
        if asked.facts.type not in ("integer", "number"):
            return []
        limit = (said, strict)
        if asked.facts.type == "integer" and strict:
            limit = (said + 1 if least else said - 1, False)
        own = asked.facts.low() if least else asked.facts.high()
        sign = 1 if least else -1
        if own is not None and (sign * own[0], own[1]) >= (sign * limit[0], limit[1]):
            return []
        return asked.excess(keyword, f"{keyword} {said}, not {'any' if own is None else own[0]}")

    return rule


def _multiple(asked: Asked, said: int) -> list[Excess]:
    if asked.facts.type not in ("integer", "number"):
        return []
    if asked.facts.type == "integer" and asked.facts.step() % said == 0:
        return []
    return asked.excess("multipleOf", f"only multiples of {said}, not of {asked.facts.step()}")


def _size(keyword: str, type_: str) -> Rule:
    def rule(asked: Asked, said: int) -> list[Excess]:
        if asked.facts.type != type_:
            return []
        own: int | None
        if keyword.startswith("min"):
            own = asked.facts.least(keyword)
            return [] if own >= said else asked.excess(keyword, f"{keyword} {said}, not {own}")
        own = asked.facts.most(keyword)
        if own is None and keyword == "maxProperties":
            names, others = asked.of.names(asked.facts, asked.depth)
            own = None if others else len(names)
        if own is not None and own <= said:
            return []
        return asked.excess(keyword, f"{keyword} {said}, not {'any' if own is None else own}")

    return rule


def _pattern(asked: Asked, said: str) -> list[Excess]:
    own = asked.facts.said("pattern")
    if asked.facts.type != "string" or said in own:
        return []
    if not own:
        return asked.excess("pattern", f"only {said}, not any text")
    return asked.excess("pattern", f"whether {said} takes all of {own[0]}", certain=False)


def _items(asked: Asked, said: Schema) -> list[Excess]:
    if asked.facts.type != "array" or asked.facts.most("maxItems") == 0:
        return []
    return asked.below(asked.facts.said("items"), said, "*")


def _unique(asked: Asked, said: bool) -> list[Excess]:
    if asked.facts.type != "array" or not said or any(asked.facts.said("uniqueItems")):
        return []
    most = asked.facts.most("maxItems")
    if most is not None and most <= 1:
        return []
    return asked.excess("uniqueItems", "an item is taken once only")


def _contains(asked: Asked, said: Schema) -> list[Excess]:
    if asked.facts.type != "array":
        return []
    items = asked.facts.said("items")
    ways = [[schema, *items] for schema in asked.facts.said("contains")]
    ways += [items] if asked.facts.least("minItems") else []
    if any(not asked.below(way, said, "*") for way in ways):
        return []
    return asked.excess("contains", "there may be no item as is asked for")


def _properties(asked: Asked, said: Mapping[str, Schema]) -> list[Excess]:
    if asked.facts.type != "object":
        return []
    found = []
    for name, schema in said.items():
        excess = asked.below(asked.facts.member(name), schema, escape(name))
        if excess and asked.of.possible(asked.facts, name, asked.depth):
            found += excess
    return found


def _others(asked: Asked, said: Schema) -> list[Excess]:
    if asked.facts.type != "object" or said is True:
        return []
    names, others = asked.of.names(asked.facts, asked.depth)
    found = []
    for name in names:
        if name not in asked.wide.get("properties", {}):
            found += asked.below(asked.facts.member(name), said, escape(name))
    if others:
        found += asked.below(asked.facts.member(None), said, "*")
    return found


def _required(asked: Asked, said: list[str]) -> list[Excess]:
    if asked.facts.type != "object":
        return []
    missing = [name for name in said if name not in asked.facts.required()]
    return [
        Excess(f"{asked.at}/{escape(name)}", "required", "it may be missing, and must not")
        for name in missing
    ]


def _names(asked: Asked, said: Schema) -> list[Excess]:
    if asked.facts.type != "object":
        return []
    names, others = asked.of.names(asked.facts, asked.depth)
    if others:
        own: list[Schema] = [{"type": "string"}, *asked.facts.said("propertyNames")]
        refused = bool(asked.below(own, said, "*"))
    else:
        refused = any(not asked.of.is_valid(said, name) for name in names)
    return asked.excess("propertyNames", "a member's name may not be taken") if refused else []


def _all_of(asked: Asked, said: list[Schema]) -> list[Excess]:
    return [excess for part in said for excess in asked.among(part)]


def _any_of(asked: Asked, said: list[Schema]) -> list[Excess]:
    return asked.of.alternatives(asked, said, "anyOf")


def _one_of(asked: Asked, said: list[Schema]) -> list[Excess]:
    return asked.of.alternatives(asked, said, "oneOf")


def _not(asked: Asked, said: Schema) -> list[Excess]:
    if asked.of.apart(asked.facts, said, asked.depth):
        return []
    return asked.excess("not", "whether what is excluded is among it", certain=False)


RULES: Mapping[str, Rule] = {
    "$ref": _ref,
    "type": _type,
    "enum": _listed,
    "const": _listed,
    "minimum": _bound("minimum", least=True),
    "exclusiveMinimum": _bound("exclusiveMinimum", least=True),
    "maximum": _bound("maximum", least=False),
    "exclusiveMaximum": _bound("exclusiveMaximum", least=False),
    "multipleOf": _multiple,
    "minLength": _size("minLength", "string"),
    "maxLength": _size("maxLength", "string"),
    "pattern": _pattern,
    "items": _items,
    "minItems": _size("minItems", "array"),
    "maxItems": _size("maxItems", "array"),
    "uniqueItems": _unique,
    "contains": _contains,
    "properties": _properties,
    "additionalProperties": _others,
    "required": _required,
    "propertyNames": _names,
    "minProperties": _size("minProperties", "object"),
    "maxProperties": _size("maxProperties", "object"),
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "not": _not,
}


# -- when there is no such value -----------------------------------------------------------------
Nothing = Callable[["Inclusion", Facts, int], bool]


def _no_number(of: Inclusion, facts: Facts, depth: int) -> bool:
    low, high = facts.low(), facts.high()
    if low is None or high is None:
        return False
    if facts.type == "integer":
        return high[0] // facts.step() * facts.step() < low[0]
    return low[0] > high[0] or (low[0] == high[0] and (low[1] or high[1]))


def _no_string(of: Inclusion, facts: Facts, depth: int) -> bool:
    most = facts.most("maxLength")
    return most is not None and most < facts.least("minLength")


def _no_array(of: Inclusion, facts: Facts, depth: int) -> bool:
    most, least, items = facts.most("maxItems"), facts.least("minItems"), facts.said("items")
    if most is not None and most < least:
        return True
    wanted = [[schema, *items] for schema in facts.said("contains")]
    wanted += [items] if least else []
    return any(of.empty(together(schemas), depth + 1) for schemas in wanted)


def _no_object(of: Inclusion, facts: Facts, depth: int) -> bool:
    required = facts.required()
    if any(not of.possible(facts, name, depth) for name in required):
        return True
    most, least = facts.most("maxProperties"), facts.least("minProperties")
    if most is not None and most < least:
        return True
    if least > len(required):
        names, others = of.names(facts, depth)
        return not others and len(names) < least
    return False


NOTHING: Mapping[str, Nothing] = {
    "integer": _no_number,
    "number": _no_number,
    "string": _no_string,
    "array": _no_array,
    "object": _no_object,
}
