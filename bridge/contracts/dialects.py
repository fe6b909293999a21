"""Schemas of other writers made one draft-07 document: what `importing` reads. No I/O here.

2020-12 is said again in draft-07's words; `$id`, `$anchor` and every `$ref` by them become
pointers into the file; what stands beside a `$ref` becomes `allOf`, in draft-07 too: validators
pass over it there, and whoever wrote it (Effect 3 does) means it. Effect 4's wrapping goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote, urldefrag, urljoin

from bridge.canonical import escape
from bridge.contracts.validation import resolve

Dialect = Literal["draft-07", "2020-12"]
DRAFT07 = "http://json-schema.org/draft-07/schema"
DRAFT2020 = "https://json-schema.org/draft/2020-12/schema"
_EFFECT = {"draft-07": DRAFT07, "draft-2020-12": DRAFT2020}
_ONE = (
    *("additionalProperties", "additionalItems", "contains", "else", "if", "items", "not"),
    *("propertyNames", "then", "unevaluatedItems", "unevaluatedProperties"),
)
_SEVERAL = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_NAMED = (
    *("$defs", "definitions", "properties", "patternProperties"),
    *("dependentSchemas", "dependencies"),
)
# What may stand beside a `$ref` without asking for anything.
_TEXTS = frozenset(
    (
        *("$ref", "$id", "$anchor", "$schema", "$comment", "title", "description", "default"),
        *("examples", "deprecated", "readOnly", "writeOnly", "$defs", "definitions"),
    )
)
_ANNOTATIONS = ("format", "contentEncoding", "contentMediaType", "contentSchema")
_LOOKING_ASIDE = (
    *("allOf", "anyOf", "oneOf", "if", "then", "else", "dependentSchemas", "$ref"),
    "$dynamicRef",
)


@dataclass(frozen=True, slots=True)
class Noted:
    """A keyword that is said in another way, or checks nothing."""

    pointer: str
    was: str
    says: str


@dataclass(slots=True)
class Rewriting:
    """One document on its way to draft-07."""

    dialect: Dialect
    document: Any
    places: dict[str, str] = field(default_factory=dict)  # absolute URI -> pointer
    noted: list[Noted] = field(default_factory=list)


def unwrapped(document: Any) -> Any:
    """Return the schema in Effect 4's `{dialect, schema, definitions}`; others as they are."""
    match document:
        case {"dialect": str(dialect), "schema": dict(schema), "definitions": dict(named)} if (
            dialect in _EFFECT and len(document) == 3
        ):
            return {"$schema": _EFFECT[dialect], **schema, "$defs": named}
    return document


def dialect_of(document: Any) -> Dialect | None:
    """Return the dialect a document names, draft-07 if it names none; None: another one."""
    said = document.get("$schema", DRAFT07) if isinstance(document, Mapping) else DRAFT07
    named = str(said).removesuffix("#").replace("http:", "https:")
    if named == DRAFT07.replace("http:", "https:"):
        return "draft-07"
    return "2020-12" if named == DRAFT2020 else None


def as_draft07(document: Any, dialect: Dialect) -> tuple[Any, list[Noted]]:
    """Return a sound document as draft-07, and what is said in another way in it."""
    run = Rewriting(dialect, document)
    _find(run, document, "", "")
    return _again(run, document, "", ""), run.noted


def _below(node: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield the schemas directly inside one: keyword, pointer's next steps, schema."""
    for keyword, said in node.items():
        if keyword in _ONE and isinstance(said, dict | bool):
            yield keyword, f"/{escape(keyword)}", said
        elif keyword in _SEVERAL and isinstance(said, list):
            for n, each in enumerate(said):
                yield keyword, f"/{escape(keyword)}/{n}", each
        elif keyword in _NAMED and isinstance(said, Mapping):
            for name, each in said.items():
                if isinstance(each, dict | bool):
                    yield keyword, f"/{escape(keyword)}/{escape(name)}", each


def _base(run: Rewriting, node: Mapping[str, Any], base: str) -> str:
    """Return the base of a schema's references: its own `$id`, unless that is a name only."""
    own = node.get("$id")
    if not isinstance(own, str) or own.startswith("#"):
        return base
    if run.dialect == "draft-07" and "$ref" in node:
        return base
    return urldefrag(urljoin(base, own)).url


def _find(run: Rewriting, node: Any, at: str, base: str) -> None:
    """Note where each URI and each anchor is."""
    if not isinstance(node, Mapping):
        return
    base = _base(run, node, base)
    if not at or "$id" in node:
        run.places.setdefault(base, at)
    own = node.get("$id")
    named = node.get("$anchor") if run.dialect == "2020-12" else None
    if run.dialect == "draft-07" and isinstance(own, str) and own.startswith("#"):
        named = own[1:]
    if isinstance(named, str) and named:
        run.places.setdefault(f"{base}#{named}", at)
    for _, step, below in _below(node):
        _find(run, below, at + step, base)


def _pointer(run: Rewriting, reference: str, base: str) -> str:
    """Return a `$ref` as a pointer into the file; as it is if it leads out of it."""
    url, fragment = urldefrag(urljoin(base, reference) if reference != "#" else base)
    if reference.startswith("#"):
        url, fragment = base, reference[1:]
    if fragment and not fragment.startswith("/"):
        place = run.places.get(f"{url}#{unquote(fragment)}")
        return reference if place is None else f"#{place}"
    place = run.places.get(url)
    return reference if place is None else f"#{place}{fragment}"


def _again(run: Rewriting, node: Any, at: str, base: str) -> Any:
    if not isinstance(node, Mapping):
        return node
    base = _base(run, node, base)
    made: dict[str, Any] = {}
    for keyword, said in node.items():
        here = f"{at}/{escape(keyword)}"
        if keyword in _ONE and isinstance(said, dict | bool):
            made[keyword] = _again(run, said, here, base)
        elif keyword in _SEVERAL and isinstance(said, list):
            made[keyword] = [_again(run, e, f"{here}/{n}", base) for n, e in enumerate(said)]
        elif keyword in _NAMED and isinstance(said, Mapping):
            made[keyword] = {
                name: _again(run, e, f"{here}/{escape(name)}", base) for name, e in said.items()
            }
        elif keyword == "$ref" and isinstance(said, str):
            made[keyword] = _pointer(run, said, base)
        elif keyword not in ("$id", "$anchor"):
            made[keyword] = said
    if run.dialect == "2020-12":
        _older(run, made, at)
    return _apart(run, made, at)


def _apart(run: Rewriting, made: dict[str, Any], at: str) -> dict[str, Any]:
    """Return a schema in which nothing is asked for beside a `$ref`."""
    beside = {keyword: said for keyword, said in made.items() if keyword not in _TEXTS}
    if "$ref" not in made or not beside:
        return made
    if run.dialect == "draft-07":
        what = ", ".join(f"`{keyword}`" for keyword in beside)
        says = "draft-07 does not look beside `$ref`, whoever wrote it means it: becomes `allOf`"
        run.noted.append(Noted(at, what, says))
    if "type" not in beside:  # that of the other: what follows is then said of it alone
        pointer = unquote(made["$ref"].removeprefix("#"))
        other = resolve(run.document, pointer) if pointer.startswith("/") else None
        known = other.get("type") if isinstance(other, Mapping) else None
        beside = {"type": known, **beside} if isinstance(known, str) else beside
    texts = {k: said for k, said in made.items() if k in _TEXTS and k != "$ref"}
    return {**texts, "allOf": [{"$ref": made["$ref"]}, beside]}


def _older(run: Rewriting, made: dict[str, Any], at: str) -> None:
    """Say a schema's keywords of 2020-12 in those of draft-07, in place."""
    if not at and "$schema" in made:
        made["$schema"] = f"{DRAFT07}#"
    for keyword in (*_ANNOTATIONS, "additionalItems", "dependencies"):
        if keyword in made:
            del made[keyword]
            says = "2020-12 checks nothing by it: left out"
            run.noted.append(Noted(f"{at}/{keyword}", f"`{keyword}`", says))
    if "prefixItems" in made:
        rest = made.pop("items", None)
        made["items"] = made.pop("prefixItems")
        if rest is not None:
            made["additionalItems"] = rest
    for keyword, closed in (
        ("unevaluatedProperties", "additionalProperties"),
        ("unevaluatedItems", "additionalItems" if type(made.get("items")) is list else "items"),
    ):
        # Where nothing else at this place looks at members or items, it says the same.
        if keyword in made and not made.keys() & {*_LOOKING_ASIDE, "contains"}:
            said = made.pop(keyword)
            made.setdefault(closed, said)
    if "contains" not in made:  # then nothing is counted
        made.pop("minContains", None)
        made.pop("maxContains", None)
    least = made.get("minContains", 1)
    if least in (0, 1):
        made.pop("minContains", None)
    if least == 0:
        made.pop("contains", None)
    needs: dict[str, Any] = dict(made.pop("dependentRequired", {}))
    for name, schema in made.pop("dependentSchemas", {}).items():
        both = name in needs
        needs[name] = {"allOf": [{"required": needs[name]}, schema]} if both else schema
    if needs:
        made["dependencies"] = needs
