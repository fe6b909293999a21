"""`bridge storage`: which storage this is, what it replaced, and what it refuses."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from bridge.cli.command import Call, CommandFailed, Commands, add_command, add_group, say_error
from bridge.journal.redis import RedisJournal
from bridge.journal.store import Storage
from bridge.up.storage import warning_of

COLUMNS = {
    "id": "id",
    "made_ms": "since",
    "before": "before",
    "changed_ms": "changed",
    "why": "why",
}


def add(commands: Commands) -> None:
    group = add_group(
        commands, "storage", "show which storage this is, and which one it replaced", _show
    )
    add_command(group, "accept", "say no more that it is another one than before", _accept)


def warnings(storage: Storage | None, unfinished: dict[str, list[str]]) -> list[str]:
    """Return what is wrong with the storage; `unfinished` are keys by subsystem."""
    found = [warning_of(storage)] if storage is not None and storage.why else []
    for subsystem, keys in unfinished.items():
        if keys:
            found.append(
                f"{subsystem}: set aside, as a commit ended half way: {', '.join(keys[:10])}; "
                f"`bridge journal mend {subsystem}`"
            )
    return found


async def look(journal: RedisJournal) -> tuple[Storage | None, dict[str, list[str]]]:
    """Return which storage it is, and the keys that were set aside in each subsystem."""
    names = [route.subsystem for route in await journal.routes()]
    unfinished = {name: await journal.unfinished(name) for name in names}
    return await journal.storage.read(), unfinished


def _show(call: Call) -> int:
    async def read() -> tuple[Storage | None, dict[str, list[str]]]:
        async with call.journal() as journal:
            return await look(journal)

    storage, unfinished = asyncio.run(read())
    call.show(COLUMNS, [asdict(storage)] if storage else [])
    found = warnings(storage, unfinished)
    for text in found:
        say_error(text)
    return int(bool(found))


def _accept(call: Call) -> int:
    async def accept() -> Storage | None:
        async with call.journal() as journal:
            return await journal.storage.accept()

    storage = asyncio.run(accept())
    if storage is None:
        raise CommandFailed("nothing was written there yet")
    call.show(COLUMNS, [asdict(storage)])
    return 0
