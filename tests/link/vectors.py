"""Golden vectors of the link, as Python and Elixir read them."""

from __future__ import annotations

import json
from typing import Any

from bridge.contracts.files import CONTRACTS
from bridge.link.term_reader import TermReader
from bridge.link.terms import DEFAULT_LIMITS, Limits

FOLDERS = ("etf", "link")


def vectors(name: str) -> list[Any]:
    """Return the vectors of one file, such as `etf/accepted`."""
    file = CONTRACTS / "vectors" / f"{name}.json"
    found: list[Any] = json.loads(file.read_text(encoding="utf-8"))["vectors"]
    return found


def decode_json(frame: bytes, limits: Limits = DEFAULT_LIMITS) -> Any:
    """Return the one JSON value of a frame."""
    reader = TermReader(frame, limits)
    value = reader.json()
    reader.finish()
    return value
