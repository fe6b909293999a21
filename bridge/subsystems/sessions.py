"""Leases of who is there; the key is the registry's name. No I/O here.

A lease's time decides whether it has expired, not whether its timer has run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from bridge.errors import Refusal
from bridge.message import JSON, Context

Answer = tuple[JSON, list[dict[str, JSON]], JSON]
Leases = Mapping[str, JSON]  # by id

# joelclaw takes the number for a process of its machine, and deletes the lists of dead ones.
_RESERVED = re.compile(r"pid-[0-9]+")


def handle(state: JSON, operation: str, request: JSON, context: Context) -> Answer:
    """Compute one message's reply, effects and next state; `state` is not touched."""
    return _OPERATIONS[operation](state["leases"], request, context.now_ms)


def _register(leases: Leases, request: JSON, now_ms: int) -> Answer:
    name = request["id"]
    if _RESERVED.fullmatch(name):
        raise Refusal("reserved_id", f"{name}: `pid-` and a number is joelclaw's own")
    known = _live(leases, name, now_ms)
    registered_ms = now_ms if known is None else known["registered_ms"]
    expires_ms = now_ms + request["ttl_ms"]
    lease = {**request, "registered_ms": registered_ms, "expires_ms": expires_ms}
    effects = []
    if known is None:
        if name in leases:  # expired, and its timer is late
            effects.append(_left(name, "expired"))
        joined = {"id": name, "kind": lease["kind"], "meta": lease["meta"]}
        effects.append(_emit("sessions.joined", joined))
    effects.append(_timer(lease))
    reply = {"status": "renewed" if known else "joined", "expires_ms": expires_ms}
    return reply, effects, _with(leases, lease)


def _renew(leases: Leases, request: JSON, now_ms: int) -> Answer:
    known = _known(leases, request["id"], now_ms)
    lease = {**known, "expires_ms": now_ms + known["ttl_ms"]}
    return {"expires_ms": lease["expires_ms"]}, [_timer(lease)], _with(leases, lease)


def _leave(leases: Leases, request: JSON, now_ms: int) -> Answer:
    name = _known(leases, request["id"], now_ms)["id"]
    effects = [_left(name, "left"), {"effect": "cancel", "id": f"expire/{name}"}]
    return {}, effects, _without(leases, name)


def _expire(leases: Leases, request: JSON, now_ms: int) -> Answer:
    name = request["id"]
    if name not in leases or _live(leases, name, now_ms):
        return {"expired": False}, [], {"leases": leases}
    return {"expired": True}, [_left(name, "expired")], _without(leases, name)


def _list(leases: Leases, request: JSON, now_ms: int) -> Answer:
    kind = request.get("kind")
    sessions = [
        lease
        for _, lease in sorted(leases.items())
        if lease["expires_ms"] > now_ms and kind in (None, lease["kind"])
    ]
    return {"sessions": sessions}, [], None  # a query's state is ignored


def _live(leases: Leases, name: str, now_ms: int) -> JSON:
    """Return the lease if there is one and it has not expired, else None."""
    lease = leases.get(name)
    return lease if lease is not None and lease["expires_ms"] > now_ms else None


def _known(leases: Leases, name: str, now_ms: int) -> JSON:
    lease = _live(leases, name, now_ms)
    if lease is None:
        raise Refusal("unknown_session", f"{name} has no lease, or it has expired")
    return lease


def _with(leases: Leases, lease: JSON) -> JSON:
    return {"leases": {**leases, lease["id"]: lease}}


def _without(leases: Leases, name: str) -> JSON:
    return {"leases": {other: lease for other, lease in leases.items() if other != name}}


def _timer(lease: JSON) -> dict[str, JSON]:
    return {
        "effect": "schedule",
        "id": f"expire/{lease['id']}",
        "at_ms": lease["expires_ms"],
        "operation": "expire",
        "request": {"id": lease["id"]},
    }


def _left(name: str, reason: str) -> dict[str, JSON]:
    return _emit("sessions.left", {"id": name, "reason": reason})


def _emit(event_type: str, payload: JSON) -> dict[str, JSON]:
    return {"effect": "emit", "type": event_type, "payload": payload}


_OPERATIONS: dict[str, Callable[[Leases, JSON, int], Answer]] = {
    "register": _register,
    "renew": _renew,
    "leave": _leave,
    "expire": _expire,
    "list": _list,
}
