"""A small sound contract to break in one place, written into a folder of its own."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

NOTHING = {"type": "object", "additionalProperties": False, "properties": {}}
SOUND: dict[str, Any] = {
    "name": "sound",
    "version": 1,
    "summary": "A contract with nothing wrong.",
    "owner": "python",
    "fallback": None,
    "max_state_bytes": 100,
    "state": {"$ref": "#/$defs/State"},
    "initial_state": {"n": 0},
    "operations": {
        "set": {
            "kind": "command",
            "summary": "Set it.",
            "request": {"$ref": "#/$defs/Set"},
            "reply": {"$ref": "#/$defs/State"},
            "effects": ["emit", "schedule", "cancel", "inngest"],
            "errors": ["no"],
            "idempotency": "/token",
        },
        "timed": {
            "kind": "command",
            "internal": True,
            "summary": "Set it, later.",
            "request": {"$ref": "#/$defs/Set"},
            "reply": {},
        },
        "get": {
            "kind": "query",
            "summary": "Get it.",
            "request": NOTHING,
            "reply": {"$ref": "#/$defs/State"},
        },
    },
    "events": {"was.set": {"$ref": "#/$defs/State"}},
    "$defs": {
        "State": {
            "type": "object",
            "required": ["n"],
            "additionalProperties": False,
            "properties": {
                "n": {"type": "integer", "minimum": 0, "maximum": 9007199254740991},
                "text": {"type": "string"},
            },
        },
        "Set": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "n": {"type": "integer", "minimum": 0, "maximum": 100, "default": 7},
                "token": {"type": "string", "maxLength": 10},
                "meta": {"type": "object", "additionalProperties": True, "default": {}},
            },
        },
    },
}


def with_change(pointer: str, value: Any) -> dict[str, Any]:
    """Return the sound contract with the value at a pointer set, or removed if it is `...`."""
    document = deepcopy(SOUND)
    *path, last = pointer.split("/")[1:]
    place = document
    for token in path:
        place = place[token]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return document


def written(folder: Path, document: Any, name: str = "sound") -> Path:
    """Write a subsystem.json into `<folder>/<name>` and return the file."""
    file = folder / name / "subsystem.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(document if isinstance(document, str) else json.dumps(document))
    return file
