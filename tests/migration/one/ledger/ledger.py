"""The first version: a total."""

from __future__ import annotations

from typing import Any


def handle(state: Any, operation: str, request: Any, context: Any) -> tuple[Any, Any, Any]:
    if operation == "total":
        return state, [], state
    if operation == "later":
        add = {"operation": "add", "request": {"n": request["n"]}}
        return (
            {},
            [{"effect": "schedule", "id": "later", **add, "at_ms": request["at_ms"]}],
            state,
        )
    total = {"total": state["total"] + request["n"]}
    return total, [{"effect": "emit", "type": "ledger.added", "payload": total}], total
