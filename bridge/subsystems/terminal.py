"""Relays a terminal's prompts to a session; the key is the terminal's name. No I/O here."""

from __future__ import annotations

from collections.abc import Callable

from bridge.errors import Refusal
from bridge.message import JSON, Context

Answer = tuple[JSON, list[dict[str, JSON]], JSON]

_WHITE_SPACE = "\t\n\v\f\r "
_RESERVED = ("gateway", "main")
_RESERVED_PREFIX = "pid-"
# What is said within a turn, and whether the turn goes on. An error may come at any time.
_STREAMING = {"text_delta": True, "tool_call": True, "tool_result": True, "turn_end": False}


def handle(state: JSON, operation: str, request: JSON, context: Context) -> Answer:
    """Compute one message's reply, effects and next state; `state` is not touched."""
    return _OPERATIONS[operation](state, request, context)


def _configure(state: JSON, request: JSON, context: Context) -> Answer:
    session = request["session"]
    if session is not None and (session in _RESERVED or session.startswith(_RESERVED_PREFIX)):
        raise Refusal("reserved_session", f"{session}: its list is others' to read")
    return {"session": session}, [], {"session": session, "streaming": False, "waiting": 0}


def _prompt(state: JSON, request: JSON, context: Context) -> Answer:
    session = _session(state, context)
    text = request["text"].strip(_WHITE_SPACE)
    if not text:
        raise Refusal("empty_prompt", "a prompt needs text")
    effect = {
        "effect": "system_event",
        "session": session,
        "type": "terminal.prompt",
        "payload": {"prompt": text, "originSession": f"terminal:{context.key}"},
    }
    after = {**state, "waiting": state["waiting"] + 1}
    return {"status": "sent", "session": session}, [effect], after


def _abort(state: JSON, request: JSON, context: Context) -> Answer:
    _session(state, context)
    effect = {"effect": "emit", "type": "terminal.abort", "payload": {}}
    return {"status": "asked"}, [effect], state


def _say(state: JSON, request: JSON, context: Context) -> Answer:
    payload = dict(request["frame"])
    kind = payload.pop("type")
    effect = {"effect": "emit", "type": f"terminal.{kind}", "payload": payload}
    streaming = _STREAMING.get(kind, state["streaming"])
    waiting = max(state["waiting"] - 1, 0) if kind == "turn_end" else state["waiting"]
    return {}, [effect], {**state, "streaming": streaming, "waiting": waiting}


def _status(state: JSON, request: JSON, context: Context) -> Answer:
    reply = {
        "sessionId": state["session"] or "",
        "isStreaming": state["streaming"],
        "queueDepth": state["waiting"],
    }
    return reply, [], None  # a query's state is ignored


def _session(state: JSON, context: Context) -> str:
    session: str | None = state["session"]
    if session is None:
        how = f"push `configure` with a session to topic terminal:{context.key}"
        raise Refusal("no_session", f"prompts have nowhere to go: {how}")
    return session


_OPERATIONS: dict[str, Callable[[JSON, JSON, Context], Answer]] = {
    "configure": _configure,
    "prompt": _prompt,
    "abort": _abort,
    "say": _say,
    "status": _status,
}
