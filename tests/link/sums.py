"""Functions of a port program's author, for tests."""

from __future__ import annotations

import time
from typing import Any


def add(one: int, other: int) -> int:
    return one + other


def same(term: Any) -> Any:
    return term


def block(seconds: float) -> str:
    time.sleep(seconds)
    return "woke"


async def fail() -> None:
    raise ValueError("no")


def _private() -> None: ...
