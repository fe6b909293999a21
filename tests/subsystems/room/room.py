"""Remembers who is there. For tests. No I/O here."""

from __future__ import annotations

from typing import Any

from bridge.message import Context


def handle(
    state: dict[str, Any], operation: str, request: Any, context: Context
) -> tuple[Any, list[Any], Any]:
    """Compute one message's reply, effects and next state."""
    return (state, [], state) if operation == "who" else ({}, [], request)
