"""Golden vectors of the link, as Python and Elixir read them."""

from __future__ import annotations

import json
from typing import Any

from bridge.contracts.files import CONTRACTS

FOLDERS = ("etf", "link")
TERM_FILE = CONTRACTS / "vectors/etf/vectors.etf"


def vectors(name: str) -> list[Any]:
    """Return the vectors of one file, such as `etf/accepted`."""
    file = CONTRACTS / "vectors" / f"{name}.json"
    found: list[Any] = json.loads(file.read_text(encoding="utf-8"))["vectors"]
    return found


def documents() -> dict[str, Any]:
    """Return every vector file of the link under its name."""
    return {
        f"{folder}/{file.stem}": json.loads(file.read_text(encoding="utf-8"))
        for folder in FOLDERS
        for file in (CONTRACTS / "vectors" / folder).glob("*.json")
    }
