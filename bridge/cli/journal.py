"""`bridge journal`: read it, export it to files, trim what was exported, hold it to the state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from bridge.cli import storage
from bridge.cli.command import (
    Call,
    CommandFailed,
    Commands,
    add_command,
    add_group,
    add_subsystem,
    say_error,
)
from bridge.cli.export import Export
from bridge.cli.running import add_folders, with_folders
from bridge.contracts.registry import Registry
from bridge.dispatch import same_of
from bridge.journal.rebuild import JournalBroken, rebuild
from bridge.journal.redis import RedisJournal
from bridge.journal.store import Same
from bridge.message import JSON, Version
from bridge.up.programs import contract_folders

PAGE = 500
LIMIT = 100
FOLLOW_S = 0.5
COLUMNS = {
    "position": "position",
    "at_ms": "committed",
    "subsystem": "subsystem",
    "key": "key",
    "seq": "seq",
    "operation": "operation",
    "runtime": "runtime",
    "reason": "reason",
    "message_id": "message",
}


def add(commands: Commands) -> None:
    group = add_group(
        commands,
        "journal",
        "list, show, export, trim, verify and mend the journal; alone: list",
        _list,
        key="",
        after="",
        limit=LIMIT,
    )
    parser = add_command(group, "list", "list committed commands, oldest first", _list)
    add_subsystem(parser)
    parser.add_argument("--key", default="", help="only this key")
    parser.add_argument("--after", default="", metavar="POSITION", help="begin after this entry")
    parser.add_argument(
        "--limit", type=int, default=LIMIT, help=f"so many per subsystem, default {LIMIT}"
    )
    parser = add_command(group, "show", "print one entry whole, as JSON", _show, json=False)
    add_subsystem(parser, required=True)
    parser.add_argument("position", metavar="POSITION")
    parser = add_command(
        group, "export", "append entries to <DIR>/<subsystem>/<day>.ndjson", _export, json=False
    )
    parser.add_argument("directory", metavar="DIR", type=Path)
    add_subsystem(parser)
    parser.add_argument("--follow", action="store_true", help="go on until Ctrl-C")
    parser = add_command(
        group, "trim", "drop exported entries before a position", _trim, json=False
    )
    add_subsystem(parser, required=True)
    parser.add_argument("before", metavar="POSITION")
    parser = add_command(
        group, "verify", "rebuild every state from the journal and compare", _verify
    )
    add_subsystem(parser)
    parser = add_command(
        group,
        "mend",
        "end commits that ended half way; of a key that is named, and whose state is not the "
        "journal's, write the journal's",
        _mend,
    )
    add_subsystem(parser, required=True)
    parser.add_argument("key", metavar="KEY", nargs="*", help="only these keys")
    add_folders(parser)


def _list(call: Call) -> int:
    async def read() -> list[dict[str, JSON]]:
        async with call.journal() as journal:
            found = []
            for name in await call.subsystems(journal):
                page = await journal.entries(
                    name, call.args.after, call.args.limit, call.args.key
                )
                found += [
                    {"position": position, "subsystem": name, **entry} for position, entry in page
                ]
            return found

    call.show(COLUMNS, asyncio.run(read()))
    return 0


def _show(call: Call) -> int:
    async def read() -> dict[str, JSON]:
        async with call.journal() as journal:
            (name,) = await call.subsystems(journal)
            found = await journal.entries(name, _before(call.args.position), 1)
            if not found or found[0][0] != call.args.position:
                raise CommandFailed(f"no entry at {call.args.position} in {name}")
            return {"position": found[0][0], **found[0][1]}

    call.args.json = True
    call.show(COLUMNS, [asyncio.run(read())])
    return 0


def _export(call: Call) -> int:
    async def export() -> None:
        async with call.journal() as journal:
            names = await call.subsystems(journal)
            exports = [Export(call.args.directory / name) for name in names]
            while True:
                for name, files in zip(names, exports, strict=True):
                    count = await _export_new(journal, name, files)
                    if count or not call.args.follow:
                        print(
                            f"{name}: {count} entries, up to {files.last or 'none'}", flush=True
                        )
                if not call.args.follow:
                    return
                await asyncio.sleep(FOLLOW_S)

    asyncio.run(export())
    return 0


async def _export_new(journal: RedisJournal, name: str, files: Export) -> int:
    count = 0
    while page := await journal.entries(name, files.last, PAGE):
        files.append(page)
        await journal.mark_exported(name, files.last)
        count += len(page)
    return count


def _trim(call: Call) -> int:
    async def trim() -> int:
        async with call.journal() as journal:
            (name,) = await call.subsystems(journal)
            return await journal.trim(name, call.args.before)

    print(f"{asyncio.run(trim())} entries dropped")
    return 0


def _verify(call: Call) -> int:
    async def verify() -> tuple[list[dict[str, JSON]], list[str]]:
        async with call.journal() as journal:
            names = await call.subsystems(journal)
            rows = [await _verified(journal, name) for name in names]
            return rows, storage.warnings(*await storage.look(journal))

    rows, warnings = asyncio.run(verify())
    columns = {
        "subsystem": "subsystem",
        "keys": "keys",
        "entries": "entries",
        "wrong": "wrong keys",
    }
    if call.args.json:
        call.show(columns, rows)
    else:  # why is said below, key by key
        call.show(columns, [{**row, "wrong": len(row["wrong"])} for row in rows])
    for row in rows:
        for key, why in row["wrong"].items():
            mend = f"`bridge journal mend {row['subsystem']} {key}` writes the last entry's state"
            say_error(f"{row['subsystem']}:{key}: {why}; {mend}")
    for text in warnings:
        say_error(text)
    return int(bool(warnings) or any(row["wrong"] for row in rows))


def _mend(call: Call) -> int:
    registry = Registry.load(*contract_folders(with_folders(call)))

    async def mend() -> list[dict[str, JSON]]:
        async with call.journal() as journal:
            (name,) = await call.subsystems(journal)

            def same(operation: str, request: JSON) -> Same:
                known = registry.get(name).operations if name in registry.names() else {}
                declared = known.get(operation)
                return same_of(declared, request) if declared else Same(request)

            keys = call.args.key or await journal.unfinished(name)
            return [{"key": key, "done": await journal.mend(name, key, same)} for key in keys]

    call.show({"key": "key", "done": "what was done"}, asyncio.run(mend()))
    return 0


async def _verified(journal: RedisJournal, name: str) -> dict[str, JSON]:
    """Compare each key's state with the journal's entry of that version; both may be moving."""
    snapshots = {key: await journal.read(name, key) for key in await journal.keys(name)}
    by_key: dict[str, list[dict[str, JSON]]] = {}
    count = 0
    async for entry in _entries(journal, name):
        count += 1
        snapshot = snapshots.get(entry["key"])
        if snapshot is not None and entry["seq"] <= snapshot.version.seq:
            by_key.setdefault(entry["key"], []).append(
                {member: entry[member] for member in ("key", "seq", "message_id", "state")}
            )
    wrong = {}
    for key, snapshot in snapshots.items():
        try:
            version, state = rebuild(by_key.get(key, [])).get(key, (Version(), None))
        except JournalBroken as error:
            wrong[key] = str(error)
            continue
        if version != snapshot.version:
            wrong[key] = f"the state is version {snapshot.version}, the journal ends at {version}"
        elif state != snapshot.state:
            wrong[key] = f"the state of {version} differs from the journal's"
    return {"subsystem": name, "keys": len(snapshots), "entries": count, "wrong": wrong}


async def _entries(journal: RedisJournal, name: str) -> AsyncIterator[dict[str, JSON]]:
    position = ""
    while page := await journal.entries(name, position, PAGE):
        for _, entry in page:
            yield entry
        position = page[-1][0]


def _before(position: str) -> str:
    """Return the position just before one."""
    ms, _, n = position.partition("-")
    if not (ms.isdecimal() and n.isdecimal()):
        raise CommandFailed(f"{position!r} is no position, `bridge journal list` shows them")
    return f"{ms}-{int(n) - 1}" if int(n) else f"{int(ms) - 1}-{2**63 - 1}"
