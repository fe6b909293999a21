"""Where in a JSON text a pointer's value stands, and values written as this house writes them.

No I/O here.
"""

from __future__ import annotations

import json
import re
from typing import Any

WIDTH = 98
INDENT = "  "
_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


def span(text: str, pointer: str) -> tuple[int, int]:
    """Return where a value begins and ends; of a pointer into nothing, the nearest above it."""
    at = _skip(text, 0)
    for token in pointer.split("/")[1:]:
        found = _below(text, at, token.replace("~1", "/").replace("~0", "~"))
        if found is None:
            break
        at = found
    return at, _DECODER.raw_decode(text, at)[1]


def line_of(text: str, pointer: str) -> int:
    """Return the line, from 1, in which a value begins."""
    return text.count("\n", 0, span(text, pointer)[0]) + 1


def replaced(text: str, pointer: str, value: Any) -> str:
    """Return the text with another value there; all else stays as it is written."""
    start, end = span(text, pointer)
    line = text[text.rfind("\n", 0, start) + 1 : start]
    indent = line[: len(line) - len(line.lstrip())]
    return text[:start] + written(value, indent, len(line) - len(indent)) + text[end:]


def written(value: Any, indent: str = "", before: int = 0) -> str:
    """Return a value's text: on one line where that fits, else one line for each member.

    Numbers and texts in a list share lines.
    `before` counts the characters between the indent and the value.
    """
    flat = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or not value:
        return flat
    if len(indent) + before + len(flat) < WIDTH:  # with the comma behind it
        return flat
    deeper = indent + INDENT
    if isinstance(value, dict):
        names = {name: f"{json.dumps(name, ensure_ascii=False)}: " for name in value}
        members = [name + written(value[n], deeper, len(name)) for n, name in names.items()]
    else:
        members = [written(item, deeper) for item in value]
    open_, close = "{}" if isinstance(value, dict) else "[]"
    if any(isinstance(item, dict | list) for item in value) or isinstance(value, dict):
        lines = f",\n{deeper}".join(members)
    else:
        lines = _filled(members, deeper)
    return f"{open_}\n{deeper}{lines}\n{indent}{close}"


def _filled(items: list[str], indent: str) -> str:
    lines = [items[0]]
    for item in items[1:]:
        longer = f"{lines[-1]}, {item}"
        if len(indent) + len(longer) < WIDTH:
            lines[-1] = longer
        else:
            lines.append(item)
    return f",\n{indent}".join(lines)


def _below(text: str, at: int, token: str) -> int | None:
    """Return where a member or an item begins, None if there is no such one."""
    if text[at] not in "{[":
        return None
    in_object, place = text[at] == "{", _skip(text, at + 1)
    index = 0
    while text[place] not in "}]":
        name = str(index)
        if in_object:
            name, place = _DECODER.raw_decode(text, place)
            place = _skip(text, _skip(text, place) + 1)
        if name == token:
            return place
        place = _skip(text, _DECODER.raw_decode(text, place)[1])
        place = _skip(text, place + 1) if text[place] == "," else place
        index += 1
    return None


def _skip(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at
