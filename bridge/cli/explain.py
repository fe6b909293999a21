"""`bridge explain`: who answered a message, and why."""

from __future__ import annotations

import asyncio
from typing import Any

from bridge.cli.command import Call, CommandFailed, Commands, add_command, say_json, when
from bridge.journal.redis import RedisJournal
from bridge.journal.values import Route
from bridge.message import JSON
from bridge.moves.assignment import bucket_of
from bridge.table import table

REASONS = {
    "owner": "it owns the subsystem",
    "canary": "the message's bucket is the candidate's",
    "fallback": "it stood in for who did not answer",
}


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "explain",
        "say of a message which runtime answered it, why, by which contract and build, how long "
        "that took, and what a move's other side said",
        _explain,
    )
    parser.add_argument("message_id", metavar="MESSAGE_ID")
    parser.add_argument("--subsystem", metavar="NAME", help="look only there")


def _explain(call: Call) -> int:
    async def find() -> dict[str, JSON] | None:
        async with call.journal() as journal:
            for name in await call.subsystems(journal):
                found = await _of(journal, name, call.args.message_id)
                if found is not None:
                    return found
        return None

    found = asyncio.run(find())
    if found is None:
        raise CommandFailed(
            f"no message {call.args.message_id!r} in the journal, nor among the last thousand "
            "of a move"
        )
    if call.args.json:
        say_json(found)
        return 0
    told = {name: value for name, value in found.items() if value not in ("", None, [])}
    rows = [[name, _text(name, value)] for name, value in told.items()]
    print(table(["", found["message_id"]], rows))
    return 0


async def _of(journal: RedisJournal, name: str, message_id: str) -> dict[str, JSON] | None:
    entry = await journal.entry_of(name, message_id)
    trace = await journal.moves.trace(name, message_id)
    if entry is None and trace is None:
        return None
    position, committed = entry or ("", {})
    done: dict[str, Any] = {**(trace or {}), **committed}
    routes = {route.epoch: route for route in await journal.route_log(name)}
    route = routes.get(done["epoch"])
    return {
        "message_id": message_id,
        "subsystem": name,
        "key": done["key"],
        "operation": done["operation"],
        "position": position,
        "at_ms": done.get("at_ms"),
        "seq": done.get("seq"),
        "runtime": done["runtime"],
        "reason": done["reason"],
        "why": _why(name, done, route, trace),
        "epoch": done["epoch"],
        "phase": route.phase if route else None,
        "candidate": route.candidate if route else None,
        "share": route.share if route else None,
        "contract": done.get("digest"),
        "build": done.get("build"),
        "us": trace["us"] if trace else None,
        "failed": trace["failed"] if trace else None,
        "other": trace["other"] if trace else None,
        "shadow": trace["shadow"] if trace else None,
        "shadow_us": trace.get("shadow_us") if trace else None,
        "differences": trace.get("differences") if trace else None,
    }


def _why(
    name: str, done: dict[str, Any], route: Route | None, trace: dict[str, Any] | None
) -> str:
    why = REASONS.get(done["reason"], "")
    if route is None or not route.share:
        return why
    # Either of the two it is counted over: the trace says which bucket it was.
    by_message, by_key = bucket_of(name, done.get("id", "")), bucket_of(name, done["key"])
    bucket = trace["bucket"] if trace else by_message
    over = "its id" if bucket == by_message else "its key" if bucket == by_key else "it"
    side = "below" if bucket < route.share else "not below"
    return f"{why}: bucket {bucket}, of {over}, is {side} {route.share}"


def _text(name: str, value: JSON) -> str:
    if name.endswith("_ms") and isinstance(value, int):
        return when(value)
    if isinstance(value, dict):
        return ", ".join(f"{part} {us} µs" for part, us in value.items())
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)
