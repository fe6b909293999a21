"""`bridge deliveries`: what was decided and is not delivered, and who delivers."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from bridge.cli.command import Call, Commands, add_command, add_subsystem, say_error
from bridge.journal.values import Waiting
from bridge.message import JSON

LIMIT = 100
COLUMNS = {
    "subsystem": "subsystem",
    "key": "key",
    "type": "event",
    "id": "id",
    "at_ms": "committed",
    "attempts": "attempts",
    "error": "last error",
}


def add(commands: Commands) -> None:
    parser = add_command(
        commands, "deliveries", "show what the outlet has not delivered, the next one first", _run
    )
    add_subsystem(parser)
    parser.add_argument(
        "--limit", type=int, default=LIMIT, help=f"so many per subsystem, default {LIMIT}"
    )


def _run(call: Call) -> int:
    found = asyncio.run(_read(call))
    call.show(COLUMNS, [row for waiting in found.values() for row in _rows(waiting)])
    for subsystem, waiting in found.items():
        if waiting.total > len(waiting.first):
            say_error(f"{subsystem}: {waiting.total} in all, --limit shows more")
        if waiting.total and not waiting.holder:
            say_error(f"{subsystem}: nobody is there to deliver to; they are kept until then")
    return 0


async def _read(call: Call) -> dict[str, Waiting]:
    async with call.journal() as journal:
        return {
            name: await journal.deliveries(name).waiting(call.args.limit)
            for name in await call.subsystems(journal)
        }


def _rows(waiting: Waiting) -> list[dict[str, JSON]]:
    return [
        {**asdict(delivery.event), "attempts": delivery.attempts, "error": delivery.error}
        for delivery in waiting.first
    ]
