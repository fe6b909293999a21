"""Asks activities and subsystems, and keeps what it was told. For tests."""

from __future__ import annotations

from typing import Any

from bridge.errors import Refusal
from bridge.message import Context


def handle(state: Any, operation: str, request: Any, context: Context) -> Any:
    match operation:
        case "ask":
            optional = {name: request[name] for name in ("id", "operation") if name in request}
            call = {
                "effect": "call",
                "to": request["to"],
                "request": {"text": request["text"]},
                "then": request["then"],
                "timeout_ms": request["timeout_ms"],
                **optional,
            }
            return {}, [call] * request["times"], state
        case "stop":
            return {}, [{"effect": "cancel", "id": request["id"]}], state
        case "told":
            return {}, [], {"told": [*state["told"], request]}
        case "note":
            if request["text"] == "no":
                raise Refusal("not_that", "not that", text="no")
            told = {"id": context.message_id, "reply": {**request, "attempt": 0}}
            return told["reply"], [], {"told": [*state["told"], told]}
    return state, [], state
