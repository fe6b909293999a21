"""Adds numbers up to ten. A handler is a function: no I/O, no clock; `context` has the time."""

from __future__ import annotations

from typing import Any, TypedDict

from bridge.errors import Refusal
from bridge.message import Context


class State(TypedDict):
    total: int


Answer = tuple[Any, list[dict[str, Any]], State]  # reply, effects, next state


def handle(state: State, operation: str, request: Any, context: Context) -> Answer:
    match operation:
        case "add":
            return add(state, request["n"])
        case "total":
            return state, [], state  # of a query only the reply counts
    raise KeyError(operation)


def add(state: State, n: int) -> Answer:
    total = state["total"] + n
    if total > 10:
        raise Refusal("full", "ten at most")
    after: State = {"total": total}
    added = {"effect": "emit", "type": "tally.added", "payload": {"n": n, "total": total}}
    return after, [added], after
