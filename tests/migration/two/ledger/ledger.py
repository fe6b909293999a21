"""The second version: minor units. 13 cannot be migrated, and -1 to nothing that holds."""

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
    state["minor"] += 100 * request["n"]
    return state, [{"effect": "emit", "type": "ledger.added", "payload": state}], state


def migrate(state: Any, from_version: int, context: Any) -> Any:
    if state["total"] == 13:
        raise ValueError("thirteen")
    return {"minor": 100 * state["total"], "currency": "EUR"}
