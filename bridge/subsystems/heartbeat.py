"""Asks for the system's periodic checks; the key is the schedule's name. No I/O here."""

from __future__ import annotations

from collections.abc import Callable

from bridge.message import JSON, Context
from bridge.subsystems.generated.heartbeat import Configure, State

Answer = tuple[JSON, list[dict[str, JSON]], JSON]

_EARLY = (
    "tasks/triage.requested",
    "sessions/prune.requested",
    "triggers/audit.requested",
    "system/health.requested",
    "memory/review.check",
    "vault/sync.check",
    "granola/check.requested",
    "email/triage.requested",
    "calendar/daily.check",
    "loops/stale.check",
)
_CHECKS = {
    "early": _EARLY,
    "head": (
        *(name for name in _EARLY if name != "granola/check.requested"),
        "gateway/health.check.requested",
    ),
}
_DATA = {("head", "system/health.requested"): {"mode": "core", "source": "heartbeat-15m"}}


def handle(state: JSON, operation: str, request: JSON, context: Context) -> Answer:
    """Compute one message's reply, effects and next state; `state` is not touched."""
    return _OPERATIONS[operation](State.model_validate(state), request, context)


def _configure(state: State, request: JSON, context: Context) -> Answer:
    wanted = Configure.model_validate(request).model_dump()
    after = state.model_copy(update=wanted)
    effects = _next_tick(after, context) or [{"effect": "cancel", "id": "tick"}]
    return wanted, effects, after.model_dump()


def _tick(state: State, request: JSON, context: Context) -> Answer:
    schedule = _next_tick(state, context)
    if state.last_ms is not None and context.now_ms - state.last_ms < state.min_gap_ms:
        after = state.model_copy(update={"skipped": state.skipped + 1})
        reply = {"status": "skipped", "reason": "too_soon", "next_ms": _earliest(state)}
        return reply, schedule, after.model_dump()
    after = state.model_copy(update={"last_ms": context.now_ms, "runs": state.runs + 1})
    effects = _checks(state, context)
    return {"status": "ran", "events": len(effects)}, [*effects, *schedule], after.model_dump()


def _status(state: State, request: JSON, context: Context) -> Answer:
    reply = {
        "last_ms": state.last_ms,
        "next_ms": _earliest(state),
        "runs": state.runs,
        "skipped": state.skipped,
    }
    return reply, [], None  # a query's state is ignored


def _earliest(state: State) -> int | None:
    return None if state.last_ms is None else state.last_ms + state.min_gap_ms


def _checks(state: State, context: Context) -> list[dict[str, JSON]]:
    return [
        {
            "effect": "inngest",
            "name": name,
            "data": dict(_DATA.get((state.profile, name), {})),
            "id": f"heartbeat/{context.message_id}/{name}",
        }
        for name in _CHECKS[state.profile]
    ]


def _next_tick(state: State, context: Context) -> list[dict[str, JSON]]:
    """Schedule the next tick: a timer fires once. `every_ms` 0 is ticked from outside."""
    if state.every_ms == 0:
        return []
    at_ms = context.now_ms + state.every_ms
    return [
        {"effect": "schedule", "id": "tick", "at_ms": at_ms, "operation": "tick", "request": {}}
    ]


_OPERATIONS: dict[str, Callable[[State, JSON, Context], Answer]] = {
    "configure": _configure,
    "tick": _tick,
    "status": _status,
}
