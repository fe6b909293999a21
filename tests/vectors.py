"""Golden vectors of contracts/vectors, as all three languages read them."""

from __future__ import annotations

import json
from typing import Any

from bridge.contracts.files import CONTRACTS


def determinism(name: str) -> list[Any]:
    """Return the cases of one file of contracts/vectors/determinism."""
    file = CONTRACTS / "vectors" / "determinism" / f"{name}.json"
    cases: list[Any] = json.loads(file.read_text(encoding="utf-8"))["cases"]
    return cases
