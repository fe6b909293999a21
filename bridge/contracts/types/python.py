"""A contract's types as pydantic models. No I/O here.

Every value the contract allows is taken, and comes back the same; what types cannot say (`not`,
`pattern`, bounds) is not held here: the gateway judges.
"""

from __future__ import annotations

import builtins
import json
import keyword
import typing
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from bridge.contracts.types.names import named

_IMPORTED = {"Annotated", "Any", "BaseModel", "ConfigDict", "Field", "Literal", "TypeAliasType"}
_OWN = {"Model", "OPERATIONS", "STATE", "EVENTS"}
_TAKEN = {*_IMPORTED, *_OWN, *dir(builtins), *keyword.kwlist, *keyword.softkwlist, *dir(typing)}
# What a model has for itself, or stands in annotations: a field would be found before it there.
_NO_FIELDS = {*dir(BaseModel), *keyword.kwlist, "bool", "dict", "float", "int", "list", "str"}
_PLAIN = {"string": "str", "integer": "int", "number": "float | int", "boolean": "bool"}

_HEAD = '''"""Types of {name}@{version}, written by `bridge contracts generate`. Do not edit."""
# ruff: noqa (as it is generated)
# fmt: off

from __future__ import annotations

from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypeAliasType


class Model(BaseModel):
    model_config = ConfigDict(
        strict=True, extra="forbid", populate_by_name=True, protected_namespaces=()
    )


'''


def write(contract: Mapping[str, Any]) -> str:
    """Return the text of a module with the types of a parsed subsystem.json."""
    return _Python(contract).text()


class _Python:
    def __init__(self, contract: Mapping[str, Any]) -> None:
        self._contract = contract
        self._definitions: Mapping[str, Any] = contract.get("$defs", {})
        self._names = named(self._definitions, _TAKEN)
        self._classes: list[str] = []
        self._quote = '"'
        self._used = {*_TAKEN, *self._names.values()}

    def text(self) -> str:
        contract = self._contract
        bodies = [self._definition(name, node) for name, node in self._definitions.items()]
        self._quote = ""  # what follows stands behind all of them
        state = self.expression(contract["state"], "State")
        operations = {
            name: (
                self.expression(operation["request"], f"{_camel(name)}Request"),
                self.expression(operation["reply"], f"{_camel(name)}Reply"),
            )
            for name, operation in contract["operations"].items()
        }
        events = {
            name: self.expression(node, f"{_camel(name)}Event")
            for name, node in contract.get("events", {}).items()
        }
        head = _HEAD.format(name=contract["name"], version=contract["version"])
        tables = [
            f"STATE: Any = {state}",
            "# Of each operation the types of request and reply.",
            "OPERATIONS: dict[str, tuple[Any, Any]] = {",
            *[f"    {name!r}: ({asked}, {told})," for name, (asked, told) in operations.items()],
            "}",
            "EVENTS: dict[str, Any] = {",
            *[f"    {name!r}: {node}," for name, node in events.items()],
            "}",
        ]
        return head + "\n\n".join([*self._classes, *bodies, "\n".join(tables)]) + "\n"

    def _name(self, name: str) -> str:
        return f"{self._quote}{name}{self._quote}"

    def _definition(self, name: str, node: Mapping[str, Any]) -> str:
        own = self._names[name]
        if _is_model(node):
            return self._model(own, node)
        said = self.expression(node, own + "Item")
        # mypy takes an alias that leads to itself as a text only.
        said = repr(said) if self._name(own) in said else said
        return f'{own} = TypeAliasType("{own}", {said})'

    def expression(self, node: Any, hint: str) -> str:
        """Return a type; objects inside become classes, named by `hint`."""
        if not isinstance(node, Mapping):
            return "Any"
        if "$ref" in node:
            return self._name(self._names[node["$ref"].removeprefix("#/$defs/")])
        if "const" in node or "enum" in node:
            return _literal(node["enum"] if "enum" in node else [node["const"]])
        for keyword_ in ("anyOf", "oneOf"):
            if keyword_ in node and "type" not in node and "allOf" not in node:
                each = [self.expression(o, f"{hint}{n}") for n, o in enumerate(node[keyword_])]
                return _union(each)
        kinds = node.get("type", [])
        kinds = kinds if isinstance(kinds, list) else [kinds]
        return _union([self._kind(kind, node, hint) for kind in kinds]) if kinds else "Any"

    def _kind(self, kind: str, node: Mapping[str, Any], hint: str) -> str:
        match kind:
            case "null":
                return "None"
            case "array":
                return f"list[{self.expression(node.get('items', True), hint + 'Item')}]"
            case "object" if node.get("properties"):
                own = hint
                while own in self._used:
                    own += "_"
                self._used.add(own)
                self._classes.append(self._model(own, node))
                return self._name(own)
            case "object":
                return f"dict[str, {self._rest(node, hint)}]"
        return _PLAIN[kind]

    def _rest(self, node: Mapping[str, Any], hint: str) -> str:
        return self.expression(node.get("additionalProperties", True), f"{hint}Value")

    def _model(self, own: str, node: Mapping[str, Any]) -> str:
        lines = [f"class {own}(Model):"]
        if node.get("additionalProperties") is not False:
            lines.append('    model_config = ConfigDict(extra="allow")')
        names = named(node["properties"], _NO_FIELDS, _field)
        for name, below in node["properties"].items():
            kind = self.expression(below, f"{own}{_camel(name)}")
            field = names[name]
            given = [] if field == name else [f"alias={json.dumps(name)}"]
            needed = name in node.get("required", []) or "default" in below
            if not needed:
                given.insert(0, "default=None")
            at = f" = Field({', '.join(given)})" if given else ""
            kind = kind if needed else f"Union[{kind}, None]"
            lines.append(f"    {field}: {kind}{at}")
        return "\n".join(lines)


def _is_model(node: Any) -> bool:
    """Say whether all of a definition is one object with members."""
    other = {"const", "enum", "anyOf", "oneOf", "$ref"}
    return node.get("type") == "object" and bool(node.get("properties")) and not other & set(node)


def _literal(values: list[Any]) -> str:
    if all(value is None or isinstance(value, str | bool | int) for value in values):
        return f"Literal[{', '.join(map(_written, values))}]"
    return "Any"


def _written(value: Any) -> str:
    return repr(value) if not isinstance(value, str) else json.dumps(value)


def _union(kinds: list[str]) -> str:
    kinds = list(dict.fromkeys(kinds))
    if "Any" in kinds:
        return "Any"
    return kinds[0] if len(kinds) == 1 else f"Union[{', '.join(kinds)}]"


def _camel(name: str) -> str:
    words = "".join(c if c.isascii() and c.isalnum() else " " for c in name).split()
    return "".join(word[0].upper() + word[1:] for word in words)


def _field(name: str) -> str:
    plain = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in name)
    plain = plain.lstrip("_") or "member"
    # Names of classes begin with a capital, those of fields never.
    return plain[0].lower() + plain[1:] if not plain[0].isdigit() else f"m{plain}"
