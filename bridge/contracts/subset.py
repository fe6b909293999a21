"""The lint that keeps contracts inside the part of JSON Schema every validator agrees on. No I/O.

What is allowed and what is refused is data, contracts/meta/subset.json; each refusal there says
which validators disagree and how. Here is only the walk.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge.bounds import MAX_SAFE_INTEGER
from bridge.canonical import escape
from bridge.errors import nearest

_REFERENCE = re.compile(r"#/\$defs/([A-Za-z][A-Za-z0-9]*)", re.ASCII)
_BESIDE_REFERENCE = {"$ref", "description", "title", "$comment", "default"}
MAX_WAYS = 1000
_ONE = ("schema", "name_schema")


@dataclass(frozen=True, slots=True)
class Fault:
    """A place in a contract file that leaves the subset."""

    pointer: str
    rule: str
    message: str


class Subset:
    """The lint with its data."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        """Take the parsed subset.json."""
        self._keywords: Mapping[str, Any] = data["keywords"]
        self._refused: Mapping[str, Any] = data["refused_keywords"]
        self._rules: Mapping[str, Any] = data["rules"]
        self._tokens = [re.compile(text) for text in data["patterns"]["tokens"].values()]
        self._constructs = [
            (re.compile(entry["find"]), entry) for entry in data["patterns"]["refused"]
        ]

    def lint(
        self, schema: Any, pointer: str, definitions: Mapping[str, Any], *, request: bool = False
    ) -> list[Fault]:
        """Return the faults of one schema and all below it, `$ref`s looked up, not followed.

        `request`: the schema's own members may have a `default`.
        """
        return list(_Walk(self, definitions).schema(schema, pointer, defaults=request))

    def floats(self, schema: Any, pointer: str, definitions: Mapping[str, Any]) -> list[Fault]:
        """Return where a schema, `$ref`s followed, takes numbers that are not integers."""
        return [
            self.fault(at, "number")
            for at, node in self.reachable(schema, pointer, definitions)
            if "number" in _types(node)
        ]

    def reachable(
        self, schema: Any, pointer: str, definitions: Mapping[str, Any]
    ) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield every schema a value may be held to, each definition once."""
        seen: set[str] = set()
        open_ = [(pointer, schema)]
        while open_:
            at, node = open_.pop()
            if not isinstance(node, Mapping):
                continue
            yield at, node
            name = _name(node.get("$ref"))
            if name in definitions and name not in seen:
                seen.add(name)
                open_.append((f"/$defs/{name}", definitions[name]))
            open_.extend((f"{at}{step}", below) for step, below in self.below(node))

    def below(self, node: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Yield the schemas directly inside one, each with the pointer's next steps."""
        for keyword, value in node.items():
            holds = self._keywords.get(keyword, {}).get("holds")
            if holds in _ONE:
                yield f"/{escape(keyword)}", value
            elif holds == "members" and isinstance(value, Mapping):
                for name, member in value.items():
                    yield f"/{escape(keyword)}/{escape(name)}", member
            elif holds == "same_place" and isinstance(value, list):
                for n, member in enumerate(value):
                    yield f"/{escape(keyword)}/{n}", member

    def fault(self, pointer: str, rule: str, what: str = "") -> Fault:
        """Build a fault from one of the data's rules."""
        entry = self._rules[rule]
        text = f"{what}: {entry['says']}" if what else entry["says"]
        return Fault(pointer, rule, f"{text}. Why: {entry['why']}. Use {entry['instead']}.")

    def keyword(self, node: Mapping[str, Any], keyword: str, pointer: str) -> Iterator[Fault]:
        """Check that a keyword is allowed, and stands where its type is said."""
        if keyword in self._refused:
            entry = self._refused[keyword]
            text = f"`{keyword}` is refused. Why: {entry['why']}. Use {entry['instead']}."
            yield Fault(pointer, keyword, text)
            return
        if keyword not in self._keywords:
            yield self.fault(pointer, "keyword", f"`{keyword}` is unknown")
            return
        needs = self._keywords[keyword].get("types")
        if needs and not set(needs) & set(_types(node)):
            wanted = " or ".join(needs)
            yield self.fault(pointer, "missing_type", f"`{keyword}` is for type {wanted}")

    def holds(self, keyword: str) -> str:
        return str(self._keywords.get(keyword, {}).get("holds", ""))

    def pattern(self, pattern: str, pointer: str) -> Iterator[Fault]:
        """Check a regular expression token by token, up to the first fault."""
        at = 0
        while at < len(pattern):
            token = next((m for t in self._tokens if (m := t.match(pattern, at))), None)
            if token is not None and token.end() > at:
                at = token.end()
                continue
            for find, entry in self._constructs:
                if find.match(pattern, at):
                    text = (
                        f"{entry['construct']} at character {at}. Why: {entry['why']}. "
                        f"Use {entry['instead']}."
                    )
                    yield Fault(pointer, "pattern", text)
                    return
            yield Fault(pointer, "pattern", f"not in the subset at character {at}")
            return

    def reserved(self, name: str) -> bool:
        return name in self._rules["member_name"]["names"]


@dataclass(frozen=True, slots=True)
class _Walk:
    subset: Subset
    definitions: Mapping[str, Any]
    counted: dict[str, int] = field(default_factory=dict)  # ways of each definition

    def schema(
        self,
        node: Any,
        pointer: str,
        *,
        defaults: bool = False,
        member: bool = False,
        names: bool = False,
    ) -> Iterator[Fault]:
        """Walk one schema. `defaults`: its members may have one; `member`: it may have one;
        `names`: it is held against member names, which are strings anyway."""
        if not isinstance(node, Mapping):
            return
        if names and "$ref" not in node:
            node = {"type": "string", **node}
        for keyword, value in node.items():
            at = f"{pointer}/{escape(keyword)}"
            yield from self.subset.keyword(node, keyword, at)
            yield from self.value(keyword, value, at)
        if "default" in node and not member:
            yield self.subset.fault(f"{pointer}/default", "default")
        if "$ref" in node:
            yield from self.reference(node, pointer)
        if "object" in _types(node) and "additionalProperties" not in node:
            yield self.subset.fault(pointer, "additionalProperties")
        yield from self.members(node, pointer)
        for step, below in self.subset.below(node):
            yield from self.schema(
                below,
                pointer + step,
                member=defaults and step.startswith("/properties/"),
                names=step == "/propertyNames",
            )

    def value(self, keyword: str, value: Any, at: str) -> Iterator[Fault]:
        match self.subset.holds(keyword):
            case "integer" if type(value) is not int or abs(value) > MAX_SAFE_INTEGER:
                yield self.subset.fault(at, "integer", f"{value!r}")
            case "pattern" if isinstance(value, str):
                yield from self.subset.pattern(value, at)
            case "values" if keyword == "enum" and not value:
                yield self.subset.fault(at, "enum")
            case "type" if isinstance(value, list) and len(set(value) - {"null"}) > 1:
                yield self.subset.fault(at, "union_type", ", ".join(map(str, value)))

    def members(self, node: Mapping[str, Any], pointer: str) -> Iterator[Fault]:
        declared = node.get("properties", {})
        for name in declared:
            if self.subset.reserved(name):
                at = f"{pointer}/properties/{escape(name)}"
                yield self.subset.fault(at, "member_name", f"`{name}`")
        for n, name in enumerate(node.get("required", [])):
            if name not in declared:
                yield self.subset.fault(f"{pointer}/required/{n}", "required", f"`{name}`")

    def reference(self, node: Mapping[str, Any], pointer: str) -> Iterator[Fault]:
        at = f"{pointer}/$ref"
        name = _name(node["$ref"])
        if name not in self.definitions:
            near = nearest(str(node["$ref"]).rpartition("/")[2], self.definitions)
            meant = f", '#/$defs/{near}' perhaps" if near else ""
            yield self.subset.fault(at, "ref", f"{node['$ref']!r}{meant}")
        elif not (ways := self.ways(node)):
            yield self.subset.fault(at, "ref_cycle", f"{node['$ref']!r}")
        elif ways > MAX_WAYS:
            yield self.subset.fault(at, "ref_ways", f"{node['$ref']!r}")
        for keyword in sorted(set(node) - _BESIDE_REFERENCE):
            yield self.subset.fault(
                f"{pointer}/{escape(keyword)}", "ref_siblings", f"`{keyword}`"
            )

    def ways(self, node: Any) -> int:
        """Count the schemas one place may be held to, `$ref`s followed; 0: round in a circle."""
        if not isinstance(node, Mapping):
            return 1
        name = _name(node.get("$ref"))
        if name in self.definitions and name not in self.counted:
            self.counted[name] = 0  # met again while it is being counted, it leads to itself
            self.counted[name] = self.ways(self.definitions[name])
        same = [*node.get("allOf", []), *node.get("anyOf", []), *node.get("oneOf", [])]
        below = [self.ways(each) for each in [*same, node.get("not")]]
        if name in self.definitions:
            below.append(self.counted[name])
        return 1 + sum(below) if all(below) else 0


def _types(node: Mapping[str, Any]) -> list[str]:
    types = node.get("type", [])
    return types if isinstance(types, list) else [types]


def _name(reference: Any) -> str:
    found = _REFERENCE.fullmatch(reference) if isinstance(reference, str) else None
    return found[1] if found else ""
