"""Answers the terminal with what it typed, in pieces. For tests. No I/O here."""

from __future__ import annotations

from typing import Any

from bridge.errors import Refusal
from bridge.message import Context

Answer = tuple[Any, list[dict[str, Any]], Any]
PIECE = 8


def handle(state: dict[str, Any], operation: str, request: Any, context: Context) -> Answer:
    """Compute one message's reply, effects and next state; `state` is not touched."""
    match operation:
        case "prompt":
            text = request["text"]
            pieces = [text[n : n + PIECE] for n in range(0, len(text), PIECE)]
            said = [_emit("terminal.text_delta", {"delta": piece}) for piece in pieces]
            after = {"turns": state["turns"] + 1}
            return after, [*said, _emit("terminal.turn_end", {})], after
        case "abort":
            raise Refusal("nothing_runs", "a turn is over as soon as it began")
        case "status":
            return {"sessionId": context.key, "model": "echo"}, [], state
        case "show":
            return {}, [_emit(request["type"], request["payload"])], state
    raise KeyError(operation)


def _emit(kind: str, payload: dict[str, Any]) -> dict[str, Any]:
    return {"effect": "emit", "type": kind, "payload": payload}
