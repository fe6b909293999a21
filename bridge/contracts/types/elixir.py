"""A contract's types as Elixir typespecs. No I/O here.

Typespecs know no members of a map with string keys: an object is a map of texts to its members'
types together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from bridge.contracts.types.names import named

# Built in, and may not be defined again; and those written here.
_WORDS = """
    any arity as_boolean atom binary bitstring bool boolean byte char charlist float fun
    function identifier integer iodata iolist keyword list map maybe_improper_list mfa
    module neg_integer nil no_return node non_neg_integer none nonempty_binary
    nonempty_bitstring nonempty_charlist nonempty_improper_list nonempty_list
    nonempty_maybe_improper_list number nonempty_keyword pid port pos_integer reference
    string struct term timeout tuple dynamic json state when do end fn and or not in true
    false after else catch rescue
"""
_TAKEN = frozenset(_WORDS.split())
_PLAIN = {
    "string": "String.t()",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "null": "nil",
}
_JSON = "Bridge.Implementation.json()"


def write(contract: Mapping[str, Any]) -> str:
    """Return the text of a module with the types of a parsed subsystem.json."""
    return _Elixir(contract).text()


class _Elixir:
    def __init__(self, contract: Mapping[str, Any]) -> None:
        self._contract = contract
        self._definitions: Mapping[str, Any] = contract.get("$defs", {})
        operations = contract["operations"]
        own = {f"{name}_{part}" for name in operations for part in ("request", "reply")}
        self._names = named(self._definitions, {*_TAKEN, *own}, _snake)

    def text(self) -> str:
        contract = self._contract
        label = f"{contract['name']}@{contract['version']}"
        module = "".join(word.capitalize() for word in contract["name"].split("_"))
        types = [("state", contract["state"])]
        for name, operation in contract["operations"].items():
            types += [(f"{name}_{part}", operation[part]) for part in ("request", "reply")]
        types += [(self._names[name], node) for name, node in self._definitions.items()]
        lines = [f"  @type {name} :: {self.expression(node)}" for name, node in types]
        return "\n".join(
            [
                f"# Types of {label}, written by `bridge contracts generate`. Do not edit.",
                f"defmodule Subsystem.{module}.Types do",
                "  @moduledoc false",
                "",
                *lines,
                "end",
                "",
            ]
        )

    def expression(self, node: Any) -> str:
        if not isinstance(node, Mapping):
            return _JSON
        if "$ref" in node:
            return f"{self._names[node['$ref'].removeprefix('#/$defs/')]}()"
        if "const" in node or "enum" in node:
            return _union([_value(v) for v in node.get("enum", [node.get("const")])])
        for keyword in ("anyOf", "oneOf"):
            if keyword in node and "type" not in node and "allOf" not in node:
                return _union([self.expression(each) for each in node[keyword]])
        kinds = node.get("type", [])
        kinds = kinds if isinstance(kinds, list) else [kinds]
        return _union([self._kind(kind, node) for kind in kinds]) if kinds else _JSON

    def _kind(self, kind: str, node: Mapping[str, Any]) -> str:
        if kind == "array":
            return f"[{self.expression(node.get('items', True))}]"
        if kind != "object":
            return _PLAIN[kind]
        rest = node.get("additionalProperties", True)
        members = [self.expression(below) for below in node.get("properties", {}).values()]
        members += [] if rest is False else [self.expression(rest)]
        return f"%{{optional(String.t()) => {_union(members)}}}" if members else "%{}"


def _value(value: Any) -> str:
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    return "String.t()" if isinstance(value, str) else _JSON


def _union(kinds: Sequence[str]) -> str:
    kinds = list(dict.fromkeys(kinds))
    return _JSON if _JSON in kinds else " | ".join(kinds)


def _snake(name: str) -> str:
    return re.sub("(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
