"""`bridge storage`: which storage this is, what it replaced, and what it refuses."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import asdict, dataclass

from bridge.cli.command import Call, CommandFailed, Commands, add_command, add_group, say_error
from bridge.journal.redis import RedisJournal
from bridge.journal.values import Damaged, Storage
from bridge.up.storage import damaged_in, warning_of

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


@dataclass(frozen=True, slots=True)
class Looked:
    """Which storage it is, the keys set aside in each subsystem, and those somebody damaged."""

    storage: Storage | None
    unfinished: dict[str, list[str]]
    damaged: list[Damaged]


def warnings(looked: Looked) -> list[str]:
    """Return what is wrong with the storage."""
    storage = looked.storage
    found = [warning_of(storage)] if storage is not None and storage.why else []
    found += [f"{damaged}; what needs it fails" for damaged in looked.damaged[:10]]
    for subsystem, keys in looked.unfinished.items():
        if keys:
            found.append(
                f"{subsystem}: set aside, as a commit ended half way: {', '.join(keys[:10])}; "
                f"`bridge journal mend {subsystem}`"
            )
    return found


async def look(journal: RedisJournal) -> Looked:
    unfinished: dict[str, list[str]] = {}
    for name in await journal.subsystems():
        with contextlib.suppress(Damaged):  # noted, and so among the damaged below
            unfinished[name] = await journal.unfinished(name)
    return Looked(await journal.storage.read(), unfinished, await damaged_in(journal))


def _show(call: Call) -> int:
    async def read() -> Looked:
        async with call.journal() as journal:
            return await look(journal)

    looked = asyncio.run(read())
    call.show(COLUMNS, [asdict(looked.storage)] if looked.storage else [])
    found = warnings(looked)
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
