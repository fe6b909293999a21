"""Schemas of the subset and changes of them, as hypothesis draws them, and values.

Few names, small numbers and short texts, so that what is drawn meets often.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

NAMES = ("a", "b", "kind")
DEFINITIONS = ("A", "B")
NUMBERS = st.integers(-3, 4)
TEXTS = st.sampled_from(["", "a", "b", "ab", "aa", "kind"])
SIZES = st.integers(0, 3)
PATTERNS = st.sampled_from(["^a", "b$", "^[ab]*$", "^a*$"])

leaves = st.one_of(st.none(), st.booleans(), NUMBERS, st.sampled_from([0.5, -1.5]), TEXTS)
LEAVES = (None, False, True, *range(-4, 6), 0.5, -1.5, "", "a", "b", "ab", "aa", "x", "kind")


def values() -> list[Any]:
    """Return values of three levels: some thousands, the same in each run."""
    few = (None, True, 0, 1, 2, 3, 0.5, "a", "b", "")
    lists: list[Any] = [[], *([v] for v in LEAVES), *([v, w] for v in few for w in few)]
    lists += [[0, 1, 2], [1, 1, 1], ["a", "b", "a"], [0, 1, 2, 3]]
    names = (*NAMES, "x")
    objects: list[Any] = [{}, *({n: v} for n in names for v in LEAVES)]
    objects += [{n: v, m: w} for n in names for m in names for v in few for w in few if n < m]
    objects += [{"a": v, "b": w, "kind": x} for v in few for w in few for x in few]
    objects += [
        {n: v, m: w, "x": 0} for n, m, v, w in zip(names, NAMES[1:], few, few, strict=False)
    ]
    parts = [*lists[::9], *objects[::31]]
    nested: list[Any] = [[part] for part in parts] + [[part, 1] for part in parts]
    nested += [{n: part} for n in names for part in parts]
    nested += [{"a": part, "kind": v} for part in parts for v in few]
    deep = [{"a": part} for part in nested[::7]] + [[part] for part in nested[::7]]
    return [*LEAVES, *lists, *objects, *nested, *deep]


def _some(**keywords: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=keywords)


def _typed(below: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    numbers = dict.fromkeys(
        ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), NUMBERS
    )
    texts = _some(minLength=SIZES, maxLength=SIZES, pattern=PATTERNS)
    arrays = _some(
        items=below, minItems=SIZES, maxItems=SIZES, uniqueItems=st.booleans(), contains=below
    )
    return st.one_of(
        st.sampled_from([{"type": name} for name in ("null", "boolean", "string", "integer")]),
        _some(**numbers, multipleOf=st.integers(1, 4)).map(lambda d: {"type": "integer", **d}),
        _some(**numbers).map(lambda d: {"type": "number", **d}),
        texts.map(lambda d: {"type": "string", **d}),
        arrays.map(lambda d: {"type": "array", **d}),
        objects(below),
    )


@st.composite
def objects(draw: st.DrawFn, below: st.SearchStrategy[Any]) -> Any:
    members = draw(st.dictionaries(st.sampled_from(NAMES), below, max_size=3))
    made = {
        "type": draw(st.sampled_from(["object", "object", ["object", "null"]])),
        "additionalProperties": draw(st.one_of(st.booleans(), st.just(False), below)),
        "properties": members,
    }
    if members:
        made["required"] = draw(
            st.lists(st.sampled_from(sorted(members)), unique=True, max_size=3)
        )
    names = st.one_of(
        st.builds(lambda p: {"type": "string", "pattern": p}, PATTERNS),
        st.lists(st.sampled_from([*NAMES, "x"]), min_size=1).map(
            lambda listed: {"type": "string", "enum": listed}
        ),
    )
    made |= draw(_some(minProperties=SIZES, maxProperties=SIZES))
    if draw(st.integers(0, 5)) == 0:
        made["propertyNames"] = draw(names)
    return made


def _combined(below: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(below, min_size=1, max_size=3)
    return st.one_of(
        _typed(below),
        _typed(below),
        _typed(below),
        several.map(lambda parts: {"anyOf": parts}),
        several.map(lambda parts: {"oneOf": parts}),
        several.map(lambda parts: {"allOf": parts}),
        below.map(lambda part: {"not": part}),
    )


_references = st.sampled_from([{"$ref": f"#/$defs/{name}"} for name in DEFINITIONS])
_plain: st.SearchStrategy[Any] = st.one_of(
    st.just({}),
    leaves.map(lambda value: {"const": value}),
    st.lists(leaves, min_size=1, max_size=3).map(lambda listed: {"enum": listed}),
    _typed(st.just({})),
)
schemas: st.SearchStrategy[Any] = st.recursive(
    st.one_of(_plain, _plain, _references), _combined, max_leaves=5
)
definitions = st.fixed_dictionaries({name: objects(schemas) for name in DEFINITIONS})


@st.composite
def changed(draw: st.DrawFn, schema: Any) -> Any:
    """Draw the schema with some of its parts changed, one keyword or one number at a time."""
    if isinstance(schema, bool):
        return draw(st.sampled_from([schema, schema, not schema]))
    made: dict[str, Any] = {}
    for keyword, said in schema.items():
        luck = draw(st.integers(0, 11))
        if luck == 0 and keyword not in ("type", "properties", "additionalProperties"):
            continue
        match keyword:
            case "properties":
                made[keyword] = {name: draw(changed(below)) for name, below in said.items()}
                if luck == 1:
                    made[keyword][draw(st.sampled_from(NAMES))] = draw(_plain)
            case "allOf" | "anyOf" | "oneOf":
                made[keyword] = [draw(changed(part)) for part in said]
                made[keyword] += [draw(_plain)] if luck == 1 else []
            case "items" | "contains" | "not" | "additionalProperties":
                made[keyword] = draw(changed(said))
            case "required":
                made[keyword] = [name for name in said if draw(st.integers(0, 5))]
            case "enum":
                made[keyword] = [*said, draw(leaves)] if luck == 1 else said
            case _ if type(said) is int and luck < 4:
                made[keyword] = max(said + draw(st.integers(-1, 1)), int("m" in keyword[:1]))
            case _:
                made[keyword] = said
    if "required" in made:
        made["required"] = [n for n in made["required"] if n in made.get("properties", {})]
    return made
