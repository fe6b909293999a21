"""Adds numbers up, and misbehaves on demand. For tests. No I/O here."""

from __future__ import annotations

import base64
from typing import Any

from bridge.errors import Refusal
from bridge.message import Context

Answer = tuple[Any, list[dict[str, Any]], Any]
MAX_LOG = 100


def handle(state: dict[str, Any], operation: str, request: Any, context: Context) -> Answer:
    """Compute one message's reply, effects and next state; `state` is not touched."""
    match operation:
        case "add":
            return _add(state, request["n"], request["tag"])
        case "once":
            return _add(state, request["n"], "")
        case "add_later":
            return _add(state, request["n"], "later", remember=False)
        case "put":
            pad = request["pad"]
            return {"bytes": len(pad)}, [], {**state, "pad": pad}
        case "later":
            at_ms = context.now_ms + request["after_ms"]
            return {"at_ms": at_ms}, [_timer(at_ms, request["n"])], state
        case "forget":
            return {}, [{"effect": "cancel", "id": "later"}], state
        case "notify":
            return {"count": request["count"]}, _events(request, context), state
        case "total":
            return {"total": state["total"], "log_length": len(state["log"])}, [], state
        case "upload":
            return {"bytes": len(base64.b64decode(request["base64"]))}, [], state
        case "fail":
            return _fail(state, request["how"])
    raise KeyError(operation)


def _add(state: dict[str, Any], n: int, tag: str, *, remember: bool = True) -> Answer:
    total = state["total"] + n
    log = state["log"]
    if tag and remember:
        log = [*log, tag][-MAX_LOG:]
    added = {"n": n, "total": total, "tag": tag}
    effects = [{"effect": "emit", "type": "counter.added", "payload": added}]
    return {"total": total}, effects, {**state, "total": total, "log": log}


def _timer(at_ms: int, n: int) -> dict[str, Any]:
    return {
        "effect": "schedule",
        "id": "later",
        "at_ms": at_ms,
        "operation": "add_later",
        "request": {"n": n},
    }


def _events(request: dict[str, Any], context: Context) -> list[dict[str, Any]]:
    unordered = {"unordered": True} if request["unordered"] else {}
    return [
        {
            "effect": "inngest",
            "name": "counter/notified",
            "data": {"i": i},
            "id": f"{context.message_id}/{i}",
            **unordered,
        }
        for i in range(request["count"])
    ]


def _fail(state: dict[str, Any], how: str) -> Answer:
    match how:
        case "refuse":
            raise Refusal("no", "told to refuse", how="refuse")
        case "crash":
            raise RuntimeError("as asked")
        case "loop":
            while True:
                pass
        case "bad_reply":
            return {"unexpected": True}, [], state
        case "bad_effect":
            return {}, [{"effect": "emit", "type": "counter.unheard_of", "payload": {}}], state
    return {}, [], {**state, "total": "not a number"}
