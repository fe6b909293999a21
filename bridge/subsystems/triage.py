"""Decides what becomes of each event of a session: a prompt, a part of a digest, or nothing.

No I/O here. The state is read as the JSON it is: a model of it would cost a call with 1,000
remembered ids more than all else here does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from bridge.errors import Refusal
from bridge.message import JSON, Context

Answer = tuple[JSON, list[dict[str, JSON]], JSON]
Effects = list[dict[str, JSON]]

WINDOW_MS = 1_800_000
MAX_SEEN = 1000
FLUSH_AFTER_MS = 3_600_000
MAX_MEMBERS = 100
MAX_SIZE = 131_072
MAX_LEVELS = 32

_MODE_TYPES = {"gateway/sleep": "sleep", "gateway/wake": "wake"}
_ASLEEP = {"cron.heartbeat": "suppressed", "telegram.message.received": "immediate"}
_EMPTY: JSON = {"since_ms": None, "size": 0, "members": []}
_CANCEL = {"effect": "cancel", "id": "flush"}
_BLANK = "\t\n\v\f\r "


def handle(state: JSON, operation: str, request: JSON, context: Context) -> Answer:
    """Compute one message's reply, effects and next state; `state` is not touched."""
    return _OPERATIONS[operation](state, request, context)


def _receive(state: JSON, request: JSON, context: Context) -> Answer:
    event, now_ms = request["event"], context.now_ms
    seen = _within_window(state["seen"], now_ms)
    if event["id"] in seen["ids"]:
        return {"decision": "duplicate", "rule": "seen"}, [], state
    decision, rule = _decide(state, event)
    effects, after = _carry_out(decision, state, event, now_ms)
    after = {**after, "seen": _with_id(seen, event["id"], now_ms)}
    return {"decision": decision, "rule": rule}, effects, after


def _configure(state: JSON, request: JSON, context: Context) -> Answer:
    return request, [], {**state, "rules": request}


def _sleep(state: JSON, request: JSON, context: Context) -> Answer:
    return {"mode": "asleep"}, [], _in_mode(state, "asleep")


def _wake(state: JSON, request: JSON, context: Context) -> Answer:
    effects, after = _flushed(state)
    return {"mode": "awake", "count": _count(state)}, effects, _in_mode(after, "awake")


def _flush(state: JSON, request: JSON, context: Context) -> Answer:
    effects, after = _flushed(state)
    return {"count": _count(state)}, effects, after


def _pending(state: JSON, request: JSON, context: Context) -> Answer:
    batch = state["batch"]
    reply = {
        "mode": state["mode"],
        "count": _count(state),
        "size": batch["size"],
        "by_type": _by_type(batch["members"]),
        "since_ms": batch["since_ms"],
    }
    return reply, [], None  # a query's state is ignored


def _decide(state: JSON, event: JSON) -> tuple[str, str]:
    """Return the decision and the rule it follows from: the first that matches."""
    kind, rules = event["type"], state["rules"]
    if kind in _MODE_TYPES:
        return _MODE_TYPES[kind], "mode"
    if state["mode"] == "asleep":
        return _ASLEEP.get(kind, "batched"), "asleep"
    if _urgent(event["payload"]):
        return "immediate", "urgent"
    if kind in rules["suppressed"]:
        return "suppressed", "suppressed"
    if kind in rules["batched"]:
        return "batched", "batched"
    return "immediate", "otherwise"


def _urgent(payload: JSON) -> bool:
    return (
        payload.get("level") == "fatal"
        or payload.get("priority") in ("high", "urgent")
        or payload.get("immediateTelegram") is True
    )


def _carry_out(decision: str, state: JSON, event: JSON, now_ms: int) -> tuple[Effects, JSON]:
    match decision:
        case "sleep":
            return [], _in_mode(state, "asleep")
        case "wake":
            effects, after = _flushed(state)
            return effects, _in_mode(after, "awake")
        case "batched":
            return _added(state, event, now_ms)
        case "immediate":  # asleep, only what wakes
            return [_prompt(event)], _in_mode(state, "awake")
        case _:
            return [], state


def _prompt(event: JSON) -> dict[str, JSON]:
    payload = _storable(event)["payload"]
    prompt: dict[str, JSON] = {"event_ids": [event["id"]], "events": [event]}
    if text := _text(payload, "prompt"):
        prompt["prompt"] = text
    if origin := _text(payload, "originSession"):
        prompt["origin_session"] = origin
    return _emit("triage.escalation" if _escalates(event) else "triage.prompt", prompt)


def _escalates(event: JSON) -> bool:
    return event["type"] == "system.fatal" or _urgent(event["payload"])


def _storable(event: JSON) -> JSON:
    if _levels(event) > MAX_LEVELS:
        raise Refusal("too_deep", f"the event nests more than {MAX_LEVELS} levels")
    return event


def _added(state: JSON, event: JSON, now_ms: int) -> tuple[Effects, JSON]:
    """Add the event to the batch; flush a batch that is full, set the timer of a new one."""
    batch = state["batch"]
    members = [*batch["members"], _storable(event)]
    size = batch["size"] + _size(event)
    first = len(members) == 1
    since_ms = now_ms if first else batch["since_ms"]
    after = {**state, "batch": {"since_ms": since_ms, "size": size, "members": members}}
    if len(members) >= MAX_MEMBERS or size >= MAX_SIZE:
        return _flushed(after)
    return [_flush_at(now_ms + FLUSH_AFTER_MS)] if first else [], after


def _flushed(state: JSON) -> tuple[Effects, JSON]:
    """Return the digest and the cancelled timer, and the state with an empty batch."""
    members = state["batch"]["members"]
    if not members:
        return [], state
    digest = {"count": len(members), "by_type": _by_type(members), "members": members}
    return [_emit("triage.digest", digest), _CANCEL], {**state, "batch": _EMPTY}


def _in_mode(state: JSON, mode: str) -> JSON:
    return {**state, "mode": mode}


def _within_window(seen: JSON, now_ms: int) -> JSON:
    """Leave out the oldest ids that are older than the window; a key's time never goes back."""
    times = seen["at_ms"]
    old = next((n for n, at in enumerate(times) if now_ms - at <= WINDOW_MS), len(times))
    return {"ids": seen["ids"][old:], "at_ms": times[old:]}


def _with_id(seen: JSON, event_id: str, now_ms: int) -> JSON:
    return {
        "ids": [*seen["ids"], event_id][-MAX_SEEN:],
        "at_ms": [*seen["at_ms"], now_ms][-MAX_SEEN:],
    }


def _count(state: JSON) -> int:
    return len(state["batch"]["members"])


def _by_type(members: list[JSON]) -> dict[str, int]:
    return dict(Counter(member["type"] for member in members))


def _text(payload: JSON, name: str) -> str:
    """Return a member as it is if it is a text that is not blank, else an empty text."""
    value = payload.get(name)
    return value if isinstance(value, str) and value.strip(_BLANK) else ""


def _levels(value: JSON) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_levels, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_levels, value), default=0)
    return 0


def _size(value: JSON) -> int:
    """Count 8 for every value, and the UTF-8 bytes of texts and members' names besides."""
    if isinstance(value, str):
        return 8 + len(value.encode())
    if isinstance(value, dict):
        return 8 + sum(len(name.encode()) + _size(member) for name, member in value.items())
    if isinstance(value, list):
        return 8 + sum(map(_size, value))
    return 8


def _emit(event_type: str, payload: JSON) -> dict[str, JSON]:
    return {"effect": "emit", "type": event_type, "payload": payload}


def _flush_at(at_ms: int) -> dict[str, JSON]:
    return {
        "effect": "schedule",
        "id": "flush",
        "at_ms": at_ms,
        "operation": "flush",
        "request": {},
    }


_OPERATIONS: dict[str, Callable[[JSON, JSON, Context], Answer]] = {
    "receive": _receive,
    "configure": _configure,
    "sleep": _sleep,
    "wake": _wake,
    "flush": _flush,
    "pending": _pending,
}
