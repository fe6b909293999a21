"""JSON Schemas written again in the subset of 2020-12 contracts use. No I/O here.

Where the subset has an equivalent, a value is valid under the result exactly if it was under the
original. Elsewhere the result takes more, never less, and a finding says so; or it cannot be
written at all. Whoever calls decides whether more will do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote

import jsonschema_rs

from bridge.canonical import escape, json_type
from bridge.contracts import draft07
from bridge.contracts.dialects import DRAFT07, DRAFT2020, as_draft07, dialect_of, unwrapped
from bridge.contracts.draft07 import ANY_TYPE, NOTHING, Schema, Types, all_of
from bridge.contracts.subset import Subset
from bridge.contracts.validation import BadSchema, CompiledSchema, place_of, pointer_of, resolve

Kind = Literal["refused", "loosened", "noted"]

_TEXTS = ("title", "description", "$comment", "examples", "deprecated")
_BESIDE_REFERENCE = ("title", "description", "$comment")
_DEFINITIONS = ("definitions", "$defs")
_ASSERTIONS = frozenset(draft07.ASSERTIONS)
_CARRIED = {*_TEXTS, *_DEFINITIONS, *_ASSERTIONS, "$ref"}
# What later drafts or OpenAPI look at and draft-07 does not.
_LATER = {
    "$anchor": "`$ref`: #/definitions/Name",
    "$dynamicRef": "`$ref`: #/definitions/Name",
    "$recursiveRef": "`$ref`: #/definitions/Name",
    "dependentRequired": "`dependencies`",
    "dependentSchemas": "`dependencies`",
    "discriminator": "a `const` member in each alternative",
    "maxContains": "`maxItems`, or a rule in the handler",
    "minContains": "a rule in the handler",
    "nullable": '"type": [<type>, "null"]',
    "prefixItems": "an object with named members",
    "unevaluatedItems": "`items`",
    "unevaluatedProperties": "`additionalProperties`",
}
_META = jsonschema_rs.Draft7Validator({"$ref": f"{DRAFT07}#"}, offline=True)
_METAS = {
    "draft-07": _META,
    "2020-12": jsonschema_rs.Draft202012Validator({"$ref": DRAFT2020}, offline=True),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """A place of the original that the result does not have as it was.

    refused: it cannot be written. loosened: the result takes more. noted: it checks the same.
    """

    pointer: str
    kind: Kind
    was: str
    says: str  # what became of it, why, and what to do instead


@dataclass(frozen=True, slots=True)
class Imported:
    """Definitions for a contract's `$defs`; `root` names the whole file's, None: it has none."""

    root: str | None
    definitions: dict[str, Schema]
    findings: tuple[Finding, ...]

    def of(self, kind: Kind) -> list[Finding]:
        return [finding for finding in self.findings if finding.kind == kind]


def import_schema(document: Any, name: str, subset: Subset) -> Imported:
    """Write a document of draft-07 or 2020-12 (normalised JSON) again; `name` is for the whole.

    The definitions are not to be used if anything is refused.
    """
    document = unwrapped(document)
    if faults := list(_shape(document)):
        return Imported(None, {}, tuple(faults))
    dialect = dialect_of(document)
    assert dialect is not None
    document, noted = as_draft07(document, dialect)
    said = [Finding(each.pointer, "noted", each.was, each.says) for each in noted]
    loose: frozenset[str] = frozenset()
    while True:
        # A definition that takes more makes the `not` around a `$ref` to it take less: begin
        # again, knowing it, until no further one turns up.
        run = Importing(document, name, subset, loose)
        imported = run.all()
        if run.loose <= loose:
            break
        loose |= run.loose
    left = [] if imported.of("refused") else _left(imported.definitions, subset)
    findings = dict.fromkeys([*said, *imported.findings, *left])
    return Imported(imported.root, imported.definitions, tuple(findings))


def name_for(text: str) -> str:
    """Return a definition's name made of a text: ^[A-Z][A-Za-z0-9]{0,63}$."""
    name = "".join(word[0].upper() + word[1:] for word in re.findall("[A-Za-z0-9]+", text))
    return (name if name[:1].isalpha() else f"Schema{name}")[:64]


class Importing:
    """One pass over a document. `schema` and `say` are what `draft07` needs of it."""

    def __init__(self, document: Any, name: str, subset: Subset, loose: frozenset[str]) -> None:
        """Begin; `loose` are the definitions known to take more than the original."""
        self.subset = subset
        self.document = document
        self.looser = 0  # grows whenever what is being written takes more than the original
        self.loose = loose
        self.findings: list[Finding] = []
        self.names: dict[str, str] = {}  # pointer of what is referred to -> name
        self.open: list[str] = []
        self.root = self.root_name(name)
        for place in _DEFINITIONS:
            for key in document.get(place, ()) if isinstance(document, dict) else ():
                self.name_of(f"/{place}/{escape(key)}")

    def all(self) -> Imported:
        """Write every definition, and what is referred to besides."""
        made: dict[str, Schema] = {}
        while self.open:
            at = self.open.pop(0)
            before = self.looser
            made[self.names[at]] = self.schema(resolve(self.document, at), at)
            if self.looser > before:
                self.loose |= {self.names[at]}
        return Imported(self.root, made, tuple(self.findings))

    def schema(self, node: Any, at: str, known: Types = ANY_TYPE) -> Schema:
        """Write one schema; `known` are the types its values have for what stands around it."""
        if isinstance(node, bool):
            return {} if node else {**NOTHING}
        if "$ref" in node:
            return self.reference(node, at)
        self.keywords(node, at)
        own = draft07.own(self, node, at, known)
        made = all_of([*own, *self.combined(node, at, draft07.types_of(node) or known)])
        texts = _BESIDE_REFERENCE if "$ref" in made else _TEXTS
        said = {keyword: node[keyword] for keyword in texts if keyword in node}
        return {**said, **made, **said}

    def say(self, at: str, kind: Kind, was: str, says: str) -> None:
        self.looser += kind == "loosened"
        self.findings.append(Finding(at, kind, was, says))

    def check_name(self, name: str, at: str) -> None:
        """Refuse a member that every JavaScript object has."""
        if self.subset.reserved(name):
            says = "every JavaScript object has a member of this name. Use another name"
            self.say(at, "refused", f"the member {name!r}", says)

    # -- references and names --------------------------------------------------------------
    def root_name(self, name: str) -> str | None:
        node = self.document
        if isinstance(node, dict):
            if "$ref" in node:
                target = self.target(node, "")
                return None if target is None else self.name_of(target)
            if not node.keys() & _ASSERTIONS and node.keys() & set(_DEFINITIONS):
                return None  # definitions, and nothing that uses them
        return self.name_of("", name)

    def name_of(self, pointer: str, wanted: str = "") -> str:
        """Return the name of the definition for what is at a pointer."""
        if pointer in self.names:
            return self.names[pointer]
        wanted = wanted or pointer.split("/")[-1].replace("~1", "/").replace("~0", "~") or "Root"
        base = name = name_for(wanted)
        n = 1
        while name in self.names.values():
            n += 1
            name = f"{base[: 64 - len(str(n))]}{n}"
        if pointer and name != wanted:
            self.say(pointer, "noted", f"the name {wanted!r}", f"it is {name} now")
        self.names[pointer] = name
        self.open.append(pointer)
        return name

    def reference(self, node: Mapping[str, Any], at: str) -> Schema:
        target = self.target(node, at)
        if target is None:
            return {}
        name = self.name_of(target)
        self.looser += name in self.loose
        texts = {keyword: node[keyword] for keyword in _BESIDE_REFERENCE if keyword in node}
        return {**texts, "$ref": f"#/$defs/{name}"}

    def target(self, node: Mapping[str, Any], at: str) -> str | None:
        """Return the pointer a `$ref` means, None with a finding if it is none into this file."""
        base, _, fragment = node["$ref"].partition("#")
        pointer = unquote(fragment)
        if base == "" and (pointer == "" or pointer.startswith("/")):
            found = resolve(self.document, pointer)
            if isinstance(found, bool) or (isinstance(found, dict) and _META.is_valid(found)):
                return pointer
        says = "there is no such schema in this file: copy it into `definitions`"
        self.say(f"{at}/$ref", "refused", f"`$ref` {node['$ref']!r}", says)
        return None

    def keywords(self, node: Mapping[str, Any], at: str) -> None:
        """Say what of the keywords is not carried over."""
        for keyword in node:
            here = f"{at}/{escape(keyword)}"
            if keyword in _LATER:
                says = "draft-07 does not know it and checks nothing: left out. Use "
                self.say(here, "loosened", f"`{keyword}`", says + _LATER[keyword])
            elif keyword == "default":
                says = "left out: the gateway fills in those at members of a request, write them"
                self.say(here, "noted", "`default`", f"{says} there")
            elif keyword not in _CARRIED and keyword != "$schema":
                self.say(here, "noted", f"`{keyword}`", "draft-07 checks nothing by it: left out")

    # -- schemas at the same place ---------------------------------------------------------
    def combined(self, node: Mapping[str, Any], at: str, known: Types) -> Iterator[Schema]:
        """Yield what a schema asks by way of others."""
        before = self.looser
        for keyword in ("allOf", "anyOf", "oneOf"):
            if keyword in node:
                made = [
                    self.schema(below, f"{at}/{keyword}/{n}", known)
                    for n, below in enumerate(node[keyword])
                ]
                if keyword == "oneOf" and self.looser > before:
                    says = "becomes `anyOf`, since one of them takes more"
                    self.say(f"{at}/oneOf", "loosened", "`oneOf`", says)
                    keyword = "anyOf"
                yield {keyword: made}
            before = self.looser
        if "not" in node:
            excluded = self.schema(node["not"], f"{at}/not", known)
            if self.looser == before:
                yield {"not": excluded}
            else:
                says = "left out, since what it excludes takes more"
                self.say(f"{at}/not", "loosened", "`not`", says)
        if "if" in node and node.keys() & {"then", "else"}:
            yield from self.condition(node, at, known)

    def condition(self, node: Mapping[str, Any], at: str, known: Types) -> Iterator[Schema]:
        """Yield if, then, else as alternatives: not `if`, or `then`; `if`, or `else`."""
        before = self.looser
        condition = self.schema(node["if"], f"{at}/if", known)
        if self.looser > before:
            says = "left out with `then` and `else`, since it takes more"
            self.say(f"{at}/if", "loosened", "`if`", says)
            return
        if "then" in node:
            then = self.schema(node["then"], f"{at}/then", known)
            yield {"anyOf": [{"not": condition}, then]}
        if "else" in node:
            yield {"anyOf": [condition, self.schema(node["else"], f"{at}/else", known)]}


def _shape(document: Any) -> Iterator[Finding]:
    """Yield why this is no draft-07 schema."""
    if isinstance(document, dict):
        if (dialect := dialect_of(document)) is None:
            says = "draft-07 and 2020-12 can be imported: have it written as one of these"
            yield Finding("/$schema", "refused", f"`$schema` {document['$schema']!r}", says)
            return
    else:
        dialect = "draft-07"
    for error in _METAS[dialect].iter_errors(document):
        says = f"{dialect} does not allow that here"
        told = _meant(error)
        text = told.message.splitlines()[0]
        yield Finding(pointer_of(place_of(document, told)), "refused", text, says)
    for place in _DEFINITIONS if isinstance(document, dict) else ():
        named = document.get(place, {})
        for name in named if isinstance(named, dict) else ():
            if not isinstance(named[name], dict | bool):
                says = "definitions are schemas: an object, true or false"
                what = json_type(named[name])
                yield Finding(f"/{place}/{escape(name)}", "refused", f"`{name}`: {what}", says)
        if not isinstance(named, dict):
            says = "definitions are an object of schemas"
            yield Finding(f"/{place}", "refused", f"`{place}`: {json_type(named)}", says)


def _meant(error: jsonschema_rs.ValidationError) -> jsonschema_rs.ValidationError:
    """Return what is wrong in the alternative that came furthest, of equals the first."""
    alternatives = getattr(error.kind, "context", None) or ()
    errors = [_meant(each) for alternative in alternatives for each in alternative]
    return max(errors, key=lambda each: len(each.instance_path), default=error)


def _left(definitions: Mapping[str, Schema], subset: Subset) -> Iterator[Finding]:
    """Yield where the result is outside the subset after all."""
    for name, schema in definitions.items():
        for fault in subset.lint(schema, f"/$defs/{name}", definitions):
            yield Finding(f"{fault.pointer} of the result", "refused", fault.rule, fault.message)
        try:
            CompiledSchema(name, schema, definitions)
        except BadSchema as error:
            at = f"/$defs/{name}{pointer_of(error.path)} of the result"
            yield Finding(at, "refused", error.rule, error.message)
