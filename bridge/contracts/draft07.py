"""What a draft-07 schema asks of a value by itself, in the subset contracts use. No I/O here.

The keywords for one type stand beside that type; each function returns schemas that hold
together. `importing` walks the document and has the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from math import ceil, floor
from typing import Any, Protocol

import jsonschema_rs

from bridge.canonical import canonical, escape, json_type
from bridge.contracts.patterns import rewrite

Schema = dict[str, Any]
Types = frozenset[str]
Node = Mapping[str, Any]

ANY_TYPE: Types = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})
NOTHING: Schema = {"not": {}}
OBJECT: Schema = {"type": "object", "additionalProperties": True}
_OBJECTS: Types = frozenset({"object"})
_STRINGS: Types = frozenset({"string"})
# Keywords by the type of value they look at.
_GROUPS: dict[str, tuple[str, ...]] = {
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "string": (
        *("minLength", "maxLength", "pattern", "format"),
        *("contentEncoding", "contentMediaType"),
    ),
    "array": ("items", "additionalItems", "minItems", "maxItems", "uniqueItems", "contains"),
    "object": (
        *("properties", "required", "additionalProperties", "patternProperties"),
        *("propertyNames", "minProperties", "maxProperties", "dependencies"),
    ),
}
ASSERTIONS = (
    *("type", "enum", "const", "allOf", "anyOf", "oneOf", "not", "if", "then", "else"),
    *(keyword for keywords in _GROUPS.values() for keyword in keywords),
)
_MONTHS = (
    "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
_LEAP_DAY = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29"
_BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
# Formats of draft-07 that a pattern says exactly.
_FORMATS = {
    "date": f"^(?:[0-9]{{4}}-{_MONTHS}|{_LEAP_DAY})$",
    "ipv4": rf"^{_BYTE}(?:\.{_BYTE}){{3}}$",
    "json-pointer": "^(?:/(?:[^/~]|~[01])*)*$",
}
_INSTEAD_OF_FORMAT = {
    "uuid": "`pattern` ^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
    "date-time": "an integer in milliseconds, or a `pattern` for the form your times have",
}
# Patterns that every text matches.
_EVERY_NAME = frozenset({"", "^", "$", ".*", "^.*", ".*$"})


class Run(Protocol):
    """What is needed of the walk; `bridge.contracts.importing.Importing` has it."""

    def schema(self, node: Any, at: str, known: Types = ...) -> Schema: ...

    def say(self, at: str, kind: Any, was: str, says: str) -> None: ...

    def check_name(self, name: str, at: str) -> None: ...


def types_of(node: Node) -> Types:
    """Return the types a schema names; none: any."""
    types = node.get("type", [])
    return frozenset([types] if isinstance(types, str) else types)


def all_of(parts: Sequence[Schema]) -> Schema:
    """Return one schema that asks for all of the parts, together where that is the same."""
    whole: Schema = {}
    beside: list[Schema] = []
    for part in _distinct(parts):
        if _asks_nothing(part):
            continue
        if "$ref" in part or whole.keys() & part.keys():
            beside.append(part)
        else:
            whole |= part
    if not whole and len(beside) == 1:
        return beside[0]
    return {**whole, "allOf": [*whole.get("allOf", []), *beside]} if beside else whole


def own(run: Run, node: Node, at: str, known: Types) -> Iterator[Schema]:
    """Yield what type, values and the keywords of types ask for."""
    types, values = types_of(node), _values(node)
    if values is not None:
        values = [value for value in values if not types or _type(value, types) in types]
        types = frozenset(json_type(value) for value in values)
        if not values:
            yield {**NOTHING}
            return
    elif not types:
        yield from _untyped(run, node, at, known)
        return
    else:
        _note_useless(run, node, at, types)
    wanted = sorted(types - {"null"} - ({"integer"} if "number" in types else set()))
    null = sorted(types & {"null"})
    if len(wanted) > 1:
        one = [all_of(_typed(run, node, at, [type_], values)) for type_ in wanted]
        yield {"anyOf": [*one, *({"type": type_} for type_ in null)]}
    elif wanted:
        yield from _typed(run, node, at, [*wanted, *null], values)
    else:
        yield {"type": "null"}


def _untyped(run: Run, node: Node, at: str, known: Types) -> Iterator[Schema]:
    """Yield keywords that came without type: values of other types pass."""
    for group, keywords in _GROUPS.items():
        mine = {type_ for type_ in known if _group(type_) == group}
        if not mine or not node.keys() & set(keywords):
            continue
        type_ = "integer" if mine == {"integer"} else group
        others = sorted(known - mine)
        if others in ([], ["null"]):
            yield from _typed(run, node, at, [type_, *others], None)
            continue
        asked = all_of(_typed(run, node, at, [type_], None))
        bare = {**OBJECT} if group == "object" else {"type": type_}
        if asked != bare:
            yield {"anyOf": [asked, {"not": bare}]}


def _typed(run: Run, node: Node, at: str, types: list[str], values: Any) -> list[Schema]:
    """Write the keywords of the first type, with it and its values; the second may be null."""
    type_ = types[0]
    if values is not None:
        groups = {_group(type_) for type_ in types}
        values = [value for value in values if _group(json_type(value)) in groups]
    write = _WRITERS.get(_group(type_))
    made = write(run, node, at, type_) if write is not None else [{}]
    type_ = made[0].pop("type", type_)
    if type_ == "number":
        says = "a request may have it; state, replies and events have integers only"
        run.say(f"{at}/type" if "type" in node else at, "noted", "type number", says)
    first: Schema = {"type": [type_, *types[1:]] if types[1:] else type_}
    said: Schema = {}
    if values is not None:
        said = {"const": values[0]} if "const" in node else {"enum": values}
    return [{**first, **said, **made[0]}, *({**first, **part} for part in made[1:])]


def _note_useless(run: Run, node: Node, at: str, types: Types) -> None:
    groups = {_group(type_) for type_ in types}
    for group, keywords in _GROUPS.items():
        for keyword in keywords if group not in groups else ():
            if keyword in node:
                says = f"no value of type {' or '.join(sorted(types))} is held to it: left out"
                run.say(f"{at}/{keyword}", "noted", f"`{keyword}`", says)


# -- the keywords of each type: the caller puts the type beside each schema --------------------
def _number(run: Run, node: Node, at: str, type_: str) -> list[Schema]:
    said: Schema = {}
    step = Fraction(repr(node.get("multipleOf", 1)))
    if "multipleOf" in node and step.denominator == 1:
        type_ = "integer"  # as all its multiples are
    if type_ == "integer":
        # An integer is a multiple of p/q, in lowest terms, if it is one of p.
        said = {"type": type_, **({"multipleOf": step.numerator} if step.numerator > 1 else {})}
    elif "multipleOf" in node:
        says = "left out: it depends on how a validator divides. Use minor units"
        run.say(f"{at}/multipleOf", "loosened", f"multipleOf {node['multipleOf']}", says)
    for edge, inward, outward, narrower in (
        ("minimum", ceil, floor, max),
        ("maximum", floor, ceil, min),
    ):
        for keyword in (edge, f"exclusive{edge.capitalize()}"):
            if keyword not in node:
                continue
            bound, name = node[keyword], keyword
            if isinstance(bound, float) and type_ == "integer":
                bound, name = inward(bound), edge  # between two integers nothing is left out
            elif isinstance(bound, float):
                bound = outward(bound)
                says = f"becomes {bound}, as bounds are integers. Use minor units"
                run.say(f"{at}/{keyword}", "loosened", f"{keyword} {node[keyword]}", says)
            said[name] = narrower(bound, said.get(name, bound))
    return [said]


def _string(run: Run, node: Node, at: str, type_: str) -> list[Schema]:
    said: Schema = {k: node[k] for k in ("minLength", "maxLength") if k in node}
    patterns = [_pattern(run, node["pattern"], f"{at}/pattern")] if "pattern" in node else []
    format_ = node.get("format")
    if format_ in _FORMATS:
        patterns.append(_FORMATS[format_])
    elif format_ is not None:
        says = "left out: validators differ in what they make of it. Use "
        says += _INSTEAD_OF_FORMAT.get(format_, "a `pattern`")
        run.say(f"{at}/format", "loosened", f"format {format_!r}", says)
    for keyword in ("contentEncoding", "contentMediaType"):
        if keyword in node:
            says = "left out: some validators read the text, others don't. Use a `pattern`"
            run.say(f"{at}/{keyword}", "loosened", f"`{keyword}`", says)
    first, *more = [{"pattern": p} for p in dict.fromkeys(patterns) if p] or [{}]
    return [{**said, **first}, *more]


def _pattern(run: Run, pattern: str, at: str) -> str:
    """Return a pattern of the subset, with a finding if it is not the same; empty: none."""
    made = rewrite(pattern)
    if made is None:
        says = "left out: contracts have nothing like it. Use a simpler pattern"
        run.say(at, "loosened", f"pattern {pattern}", says)
        return ""
    if not made.exact:
        says = f"becomes {made.pattern}, which takes more, or write one of printable ASCII"
        run.say(at, "loosened", f"pattern {pattern}", says)
    return made.pattern


def _array(run: Run, node: Node, at: str, type_: str) -> list[Schema]:
    items, most = node.get("items", True), node.get("maxItems")
    if isinstance(items, list):
        item, most = _tuple(run, node, at, items, most)
    else:
        item = run.schema(items, f"{at}/items")
        if "additionalItems" in node:
            says = "draft-07 looks at it beside a list of `items` only: left out"
            run.say(f"{at}/additionalItems", "noted", "`additionalItems`", says)
    if item == NOTHING:
        item, most = {}, 0
    said: Schema = {"items": item} if item else {}
    said |= {"minItems": node["minItems"]} if "minItems" in node else {}
    said |= {"maxItems": most} if most is not None else {}
    said |= {"uniqueItems": True} if node.get("uniqueItems") else {}
    if "contains" in node:
        said["contains"] = run.schema(node["contains"], f"{at}/contains")
    return [said]


def _tuple(
    run: Run, node: Node, at: str, items: list[Any], most: int | None
) -> tuple[Schema, int | None]:
    """Return one schema for all items, and the most items there may be."""
    kinds = [run.schema(item, f"{at}/items/{n}") for n, item in enumerate(items[:most])]
    if most is None or most > len(items):
        rest = run.schema(node.get("additionalItems", True), f"{at}/additionalItems")
        if rest == NOTHING:
            most = len(items)
        else:
            kinds.append(rest)
    if len(distinct := _distinct(kinds)) > 1:
        says = "each may be at any place. Use an object with named members"
        run.say(f"{at}/items", "loosened", f"a list of {len(items)} `items`", says)
    return _any_of(distinct) if distinct else {}, most


def _object(run: Run, node: Node, at: str, type_: str) -> list[Schema]:
    said, names = _members(run, node, at)
    said |= {k: node[k] for k in ("minProperties", "maxProperties") if k in node}
    asked = [names]
    if "propertyNames" in node:
        asked.append(run.schema(node["propertyNames"], f"{at}/propertyNames", _STRINGS))
    first, *more = [{"propertyNames": schema} for schema in asked if schema] or [{}]
    made = [{**said, **first}, *({"additionalProperties": True, **part} for part in more)]
    for name, needs in node.get("dependencies", {}).items():
        here = f"{at}/dependencies/{escape(name)}"
        run.check_name(name, here)
        if isinstance(needs, list):
            for need in needs:
                run.check_name(need, here)
            then = _having(needs) if needs else {}
        else:
            then = run.schema(needs, here, _OBJECTS)
        if then:
            absent = {"anyOf": [{"not": _having([name])}, then]}
            made.append({"additionalProperties": True, **absent})
    return made


def _members(run: Run, node: Node, at: str) -> tuple[Schema, Schema]:
    """Return required, properties and additionalProperties, and what names may be."""
    declared, required = node.get("properties", {}), node.get("required", [])
    for name in declared:
        run.check_name(name, f"{at}/properties/{escape(name)}")
    for name in required:
        run.check_name(name, f"{at}/required")
    own = {n: run.schema(s, f"{at}/properties/{escape(n)}") for n, s in declared.items()}
    patterns = {
        pattern: run.schema(schema, f"{at}/patternProperties/{escape(pattern)}")
        for pattern, schema in node.get("patternProperties", {}).items()
    }
    rest = run.schema(node.get("additionalProperties", True), f"{at}/additionalProperties")

    def member(name: str) -> Schema:
        held = [own[name]] if name in own else []
        held += [schema for pattern, schema in patterns.items() if _matches(pattern, name)]
        return all_of(held) if held else rest

    members = {name: member(name) for name in dict.fromkeys([*declared, *required])}
    others, names = _others(run, patterns, rest, declared, at)
    said: Schema = {"required": list(required)} if required else {}
    said["additionalProperties"] = others != NOTHING if others in ({}, NOTHING) else others
    return said | ({"properties": members} if members else {}), names


def _others(
    run: Run, patterns: Mapping[str, Schema], rest: Schema, declared: Node, at: str
) -> tuple[Schema, Schema]:
    """Return what members without a declaration are held to, and what their names may be."""
    everywhere = [schema for pattern, schema in patterns.items() if pattern in _EVERY_NAME]
    some = {p: schema for p, schema in patterns.items() if p not in _EVERY_NAME}
    rest = all_of(everywhere) if everywhere else rest
    kinds = _distinct([all_of([*everywhere, schema]) for schema in some.values()])
    if not [kind for kind in kinds if kind != rest]:
        return rest, {}
    written = {pattern: rewrite(pattern) for pattern in some}
    exact = all(made is not None and made.exact for made in written.values())
    texts: list[Schema] = [
        {"type": "string", "pattern": made.pattern} for made in written.values() if made
    ]
    if exact and all(schema == NOTHING for schema in some.values()):
        return rest, all_of([{"not": text} for text in texts])
    if not (exact and rest == NOTHING and len(kinds) == 1):
        says = "any of its kinds for any name. Use an object for each"
        run.say(f"{at}/patternProperties", "loosened", "`patternProperties`", says)
    if rest != NOTHING:
        return _any_of(_distinct([*kinds, rest])), {}
    named = [name for name in declared if not any(_matches(p, name) for p in some)]
    texts += [{"type": "string", "enum": named}] if named else []
    return _any_of(kinds), _any_of(texts) if all(written.values()) else {}


_WRITERS: dict[str, Callable[[Run, Node, str, str], list[Schema]]] = {
    "number": _number,
    "string": _string,
    "array": _array,
    "object": _object,
}


def _having(names: list[str]) -> Schema:
    return {
        "type": "object",
        "required": names,
        "additionalProperties": True,
        "properties": {name: {} for name in names},
    }


def _any_of(schemas: list[Schema]) -> Schema:
    if {} in schemas:
        return {}
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _distinct(schemas: Sequence[Schema]) -> list[Schema]:
    return list({canonical(schema): schema for schema in schemas}.values())


def _asks_nothing(schema: Schema) -> bool:
    match schema:
        case {"anyOf": alternatives} if len(schema) == 1:
            return {} in alternatives
        case {"allOf": parts} if len(schema) == 1:
            return not any(parts)
    return not schema


def _values(node: Node) -> list[Any] | None:
    """Return the values that `const` and `enum` leave, None if there is neither."""
    values: list[Any] | None = node.get("enum")
    if "const" not in node:
        return values
    const = canonical(node["const"])
    return [node["const"]] if values is None or const in map(canonical, values) else []


def _type(value: Any, types: Types) -> str:
    """Return a value's type; integers are numbers where these are asked for."""
    type_ = json_type(value)
    return "number" if type_ == "integer" and "integer" not in types else type_


def _group(type_: str) -> str:
    return "number" if type_ == "integer" else type_


def _matches(pattern: str, text: str) -> bool:
    return jsonschema_rs.Draft7Validator({"pattern": pattern}).is_valid(text)
