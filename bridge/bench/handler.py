"""The subsystem that `bridge bench` measures with. No I/O here."""

from __future__ import annotations

from bridge.message import JSON, Context


def handle(
    state: JSON, operation: str, request: JSON, context: Context
) -> tuple[JSON, list[dict[str, JSON]], JSON]:
    if operation == "read":
        return {"n": state["n"]}, [], state
    count = {"n": state["n"] + 1}
    if operation == "burst":
        emit = {"effect": "emit", "type": "bench.written", "payload": count}
        return count, [emit] * request["events"], {**state, **count}
    effects = [
        {"effect": "emit", "type": "bench.written", "payload": count},
        {"effect": "inngest", "name": "bench/written", "data": count, "id": context.message_id},
    ]
    return count, effects, {**count, "pad": request["pad"]}
