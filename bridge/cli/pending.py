"""`bridge outbox`, `timers`, `dead`: what is still to happen, and what kept failing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from bridge.cli.command import (
    Call,
    CommandFailed,
    Commands,
    add_command,
    add_group,
    add_subsystem,
    say_error,
)
from bridge.cli.effects import why_held
from bridge.journal.redis import RedisJournal
from bridge.journal.values import TargetState
from bridge.message import JSON

Read = Callable[[RedisJournal, str, int], Awaitable[list[Any]]]

LIMIT = 100
OUTBOX = {
    "subsystem": "subsystem",
    "key": "key",
    "kind": "effect",
    "id": "id",
    "committed_ms": "committed",
    "attempts": "attempts",
    "held": "held",
    "error": "last error",
}
TIMERS = {
    "subsystem": "subsystem",
    "key": "key",
    "id": "timer",
    "due_ms": "due",
    "operation": "operation",
    "request": "request",
    "attempts": "attempts",
    "error": "last error",
}
DEAD = {
    "subsystem": "subsystem",
    "key": "key",
    "what": "what",
    "kind": "kind",
    "id": "id",
    "attempts": "attempts",
    "died_ms": "died",
    "error": "error",
}


def add(commands: Commands) -> None:
    help = "show effects that wait; `held` ones have no executor"
    _add_list(commands, "outbox", help, OUTBOX, RedisJournal.outbox, say_why_held)
    _add_list(commands, "timers", "show timers, the next one first", TIMERS, RedisJournal.timers)
    dead = add_group(
        commands,
        "dead",
        "list, show or redrive what kept failing; alone: list",
        _lister(DEAD, RedisJournal.dead),
        limit=LIMIT,
    )
    _add_list(dead, "list", "show the dead letters", DEAD, RedisJournal.dead)
    show = add_command(dead, "show", "print one dead letter whole", _show, json=False)
    redrive = add_command(
        dead, "redrive", "put dead letters back to be tried again", _redrive, json=False
    )
    for parser in (show, redrive):
        add_subsystem(parser, required=True)
    show.add_argument("id", metavar="ID")
    redrive.add_argument("id", metavar="ID", nargs="+")


def _add_list(
    commands: Commands,
    name: str,
    help: str,
    columns: dict[str, str],
    read: Read,
    then: Callable[[Call, list[dict[str, JSON]]], None] | None = None,
) -> None:
    parser = add_command(commands, name, help, _lister(columns, read, then))
    add_subsystem(parser)
    parser.add_argument(
        "--limit", type=int, default=LIMIT, help=f"so many per subsystem, default {LIMIT}"
    )


def _lister(
    columns: dict[str, str],
    read: Read,
    then: Callable[[Call, list[dict[str, JSON]]], None] | None = None,
) -> Callable[[Call], int]:
    def run(call: Call) -> int:
        rows = asyncio.run(_read(call, read))
        call.show(columns, rows)
        if then is not None:
            then(call, rows)
        return 0

    return run


def say_why_held(call: Call, rows: list[dict[str, JSON]]) -> None:
    """Say of each kind that is held what it waits for."""
    kinds = sorted({row["kind"] for row in rows if row["held"]})
    if not kinds:
        return

    async def targets() -> dict[str, TargetState]:
        async with call.journal() as journal:
            return {kind: await journal.targets.state(kind) for kind in kinds}

    for kind, state in asyncio.run(targets()).items():
        say_error(why_held(kind, state))


async def _read(call: Call, read: Read) -> list[dict[str, JSON]]:
    async with call.journal() as journal:
        found = [
            await read(journal, name, call.args.limit) for name in await call.subsystems(journal)
        ]
    return [_without_claim(asdict(row)) for rows in found for row in rows]


def _without_claim(row: dict[str, JSON]) -> dict[str, JSON]:
    return {name: value for name, value in row.items() if name != "token"}


def _show(call: Call) -> int:
    call.args.limit, call.args.json = 1_000_000, True
    rows = [
        row for row in asyncio.run(_read(call, RedisJournal.dead)) if row["id"] == call.args.id
    ]
    if not rows:
        raise CommandFailed(f"no dead letter {call.args.id!r}: `bridge dead list` shows them")
    call.show(DEAD, rows)
    return 0


def _redrive(call: Call) -> int:
    async def redrive() -> list[str]:
        async with call.journal() as journal:
            (name,) = await call.subsystems(journal)
            return [id for id in call.args.id if not await journal.redrive(name, id)]

    unknown = asyncio.run(redrive())
    if unknown:
        raise CommandFailed(f"no dead letter {', '.join(unknown)}: `bridge dead list` shows them")
    print(f"{len(call.args.id)} put back")
    return 0
