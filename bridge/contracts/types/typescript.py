"""A contract's types in TypeScript, as `operations<Subsystem>` takes them. No I/O here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bridge.contracts.types.names import named

# Reserved words, names of types that are the language's own, and those written here.
_WORDS = """
    any as async await bigint boolean break case catch class const continue debugger declare
    default delete do else enum export extends false finally for from function get if
    implements import in infer instanceof interface is keyof let module namespace never new
    null number object of package private protected public readonly require return set
    static string super switch symbol this throw true try type typeof undefined unique
    unknown var void while with yield global Subsystem Array Record
"""
_TAKEN = frozenset(_WORDS.split())
_PLAIN = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean"}
_OPEN = "[member: string]: unknown"


def write(contract: Mapping[str, Any]) -> str:
    """Return the text of a module with the types of a parsed subsystem.json.

    Requests are as a handler meets them: the gateway has filled in their defaults.
    """
    return _TypeScript(contract).text()


class _TypeScript:
    def __init__(self, contract: Mapping[str, Any]) -> None:
        self._contract = contract
        self._definitions: Mapping[str, Any] = contract.get("$defs", {})
        self._names = named(self._definitions, _TAKEN)

    def text(self) -> str:
        contract = self._contract
        label = f"{contract['name']}@{contract['version']}"
        parts = [f"// Types of {label}, written by `bridge contracts generate`. Do not edit."]
        operations = []
        for name, operation in contract["operations"].items():
            operations += [
                *_comment(operation.get("summary", ""), "    "),
                f"    {_name(name)}: {{",
                f"      request: {self.expression(operation['request'], '      ')};",
                f"      reply: {self.expression(operation['reply'], '      ')};",
                f'      kind: "{operation["kind"]}";',
                f"      effects: {_words(operation.get('effects', []))};",
                f"      errors: {_words(operation.get('errors', []))};",
                *self._defaults(operation["request"]),
                "    };",
            ]
        events = [
            f"    {_name(name)}: {self.expression(node, '    ')};"
            for name, node in contract.get("events", {}).items()
        ]
        whole = [
            *_comment(contract.get("summary", ""), ""),
            "export interface Subsystem {",
            f"  state: {self.expression(contract['state'], '  ')};",
            "  operations: {",
            *operations,
            "  };",
            "  events: {",
            *events,
            "  };",
            *self._activities(),
            "}",
        ]
        parts.append("\n".join(whole))
        for name, node in self._definitions.items():
            lines = [
                *_comment(node.get("description", "") if isinstance(node, Mapping) else "", ""),
                f"export type {self._names[name]} = {self.expression(node, '')};",
            ]
            parts.append("\n".join(lines))
        return "\n\n".join(parts) + "\n"

    def _activities(self) -> list[str]:
        lines = []
        for name, activity in self._contract.get("activities", {}).items():
            lines += [
                *_comment(activity["summary"], "    "),
                f"    {_name(name)}: {{",
                f'      runtime: "{activity["runtime"]}";',
                f"      request: {self.expression(activity['request'], '      ')};",
                f"      reply: {self.expression(activity['reply'], '      ')};",
                "    };",
            ]
        return ["  activities: {", *lines, "  };"] if lines else []

    def _defaults(self, request: Any) -> list[str]:
        """Say which members a client may leave out."""
        while "$ref" in request:
            request = self._definitions[request["$ref"].removeprefix("#/$defs/")]
        names = [n for n, below in request.get("properties", {}).items() if "default" in below]
        return [f"      defaults: {_words(names)};"] if names else []

    def expression(self, node: Any, indent: str) -> str:
        if not isinstance(node, Mapping):
            return "never" if node is False else "unknown"
        if "$ref" in node:
            return self._names[node["$ref"].removeprefix("#/$defs/")]
        if "const" in node or "enum" in node:
            return _values(node["enum"] if "enum" in node else [node["const"]])
        for keyword in ("anyOf", "oneOf"):
            if keyword in node and "type" not in node and "allOf" not in node:
                return _union([self.expression(each, indent) for each in node[keyword]])
        kinds = node.get("type", [])
        kinds = kinds if isinstance(kinds, list) else [kinds]
        return _union([self._kind(kind, node, indent) for kind in kinds]) if kinds else "unknown"

    def _kind(self, kind: str, node: Mapping[str, Any], indent: str) -> str:
        match kind:
            case "null":
                return "null"
            case "array":
                return f"Array<{self.expression(node.get('items', True), indent)}>"
            case "object":
                return self._object(node, indent)
        return _PLAIN[kind]

    def _object(self, node: Mapping[str, Any], indent: str) -> str:
        rest = node.get("additionalProperties", True)
        members = node.get("properties", {})
        if not members:
            # Not `Record<string, …>`, which may not lead to itself.
            return f"{{ [member: string]: {self.expression(rest, indent)} }}"
        lines = []
        for name, below in members.items():
            needed = name in node.get("required", []) or "default" in below
            text = below.get("description", "")
            lines += _comment(text, f"{indent}  ")
            kind = self.expression(below, indent + "  ")
            lines.append(f"{indent}  {_name(name)}{'' if needed else '?'}: {kind};")
        if rest is not False:  # TypeScript has no way to say: all others
            lines.append(f"{indent}  {_OPEN};")
        return "\n".join(["{", *lines, f"{indent}}}"])


def _name(name: str) -> str:
    plain = name.isascii() and name.isidentifier()
    return name if plain else json.dumps(name)


def _words(words: Sequence[str]) -> str:
    return " | ".join(map(json.dumps, words)) or "never"


def _values(values: Sequence[Any]) -> str:
    plain = all(value is None or isinstance(value, str | bool | int) for value in values)
    return _union([json.dumps(value) for value in values]) if plain else "unknown"


def _union(kinds: Sequence[str]) -> str:
    kinds = list(dict.fromkeys(kinds))
    return "unknown" if "unknown" in kinds else " | ".join(kinds)


def _comment(text: str, indent: str) -> list[str]:
    safe = " ".join(text.split()).replace("*/", "* /")
    return [f"{indent}/** {safe} */"] if safe else []
