"""What a runtime outside the worker is told, and how its answer is read. No I/O here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.errors import BridgeError, Refusal, RuntimeFault, RuntimeUnavailable
from bridge.message import JSON, Invocation, Outcome, RuntimeName

# Faults that say the instance is not the one to ask; another may be.
NOT_HERE = frozenset({"unknown_subsystem", "digest_mismatch"})


def request_of(invocation: Invocation) -> dict[str, JSON]:
    """Return what every wire carries of an invocation; its time is told in each one's own way."""
    return {
        "subsystem": invocation.subsystem,
        "key": invocation.key,
        "operation": invocation.operation,
        "kind": invocation.kind,
        "request": invocation.request,
        "state": invocation.state,
        "context": invocation.context.as_json(),
        "digest": invocation.digest,
    }


def outcome_of(runtime: RuntimeName, answer: Any, build: str = "") -> Outcome:
    """Read what a remote runtime answered: `ok`, `refused` or `fault`.

    Raises Refusal, RuntimeUnavailable, BridgeError `overloaded` or RuntimeFault.
    """
    match answer:
        case {"ok": {"reply": reply, **rest}}:
            effects, state = rest.get("effects", []), rest.get("state")
            if isinstance(effects, list):
                return Outcome(reply, effects, state, build)
        case {"refused": {"reason": str(reason), **rest}}:
            detail = rest.get("detail")
            members = detail if isinstance(detail, Mapping) else {}
            raise Refusal(
                reason, str(rest.get("message") or ""), **{str(k): v for k, v in members.items()}
            )
        case {"fault": {"kind": str(kind), "message": str(message)}}:
            if kind in NOT_HERE:
                raise RuntimeUnavailable(runtime, message)
            if kind == "overloaded":
                raise BridgeError("overloaded", message, queue=f"{runtime} key")
            raise RuntimeFault(runtime, kind, message)
    text = f"expected ok, refused or fault, got {type(answer).__name__}"
    raise RuntimeFault(runtime, "off_contract", text)
