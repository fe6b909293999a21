"""Golden vectors of the link, as Python and Elixir read them."""

from __future__ import annotations

import json
from typing import Any

from bridge.contracts.files import CONTRACTS

FOLDERS = ("etf", "link")


def vectors(name: str) -> list[Any]:
    """Return the vectors of one file, such as `etf/accepted`."""
    file = CONTRACTS / "vectors" / f"{name}.json"
    found: list[Any] = json.loads(file.read_text(encoding="utf-8"))["vectors"]
    return found
