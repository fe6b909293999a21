"""`bridge journal`: read it, export it to files, trim what was exported, hold it to the state."""

from __future__ import annotations

import asyncio
from pathlib import Path

from bridge.canonical import canonical
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
from bridge.contracts.files import contract_folders
from bridge.contracts.registry import Registry
from bridge.dispatch import same_of
from bridge.journal.positions import just_before
from bridge.journal.redis import RedisJournal
from bridge.journal.values import Same
from bridge.message import JSON, RUNTIMES, Version

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
    "id": "message",
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
        "replay",
        "run committed commands once more, from their recorded states, and compare; exit code 1 "
        "if anything comes out differently",
        _replay,
    )
    add_subsystem(parser, required=True)
    parser.add_argument(
        "--runtime", required=True, choices=RUNTIMES, metavar="RUNTIME", help=", ".join(RUNTIMES)
    )
    parser.add_argument("--key", default="", help="only this key")
    parser.add_argument("--after", default="", metavar="POSITION", help="begin after this entry")
    parser.add_argument("--until", default="", metavar="POSITION", help="end with this entry")
    parser.add_argument("--limit", type=int, default=1_000_000, help="at most so many")
    add_folders(parser)
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
            found = await journal.entries(name, just_before(call.args.position), 1)
            if not found or found[0][0] != call.args.position:
                raise CommandFailed(f"no entry at {call.args.position} in {name}")
            position, entry = found[0]
            before, state = await journal.states(name, position)
            return {"position": position, **entry, "state_before": before, "state": state}

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
            return rows, storage.warnings(await storage.look(journal))

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


def _replay(call: Call) -> int:
    from bridge.cli import journal_replay  # what it needs takes a while to import

    return journal_replay.run(call)


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
    """Compare each key's state with the journal's; both may be moving."""
    last: dict[str, tuple[str, Version]] = {}  # of each key: its last entry
    wrong: dict[str, str] = {}
    count, position = 0, ""
    while page := await journal.entries(name, position, PAGE):
        count += len(page)
        for position, entry in page:
            key, version = entry["key"], Version(entry["seq"], entry["id"])
            if key in last and version.seq != last[key][1].seq + 1:
                expected = last[key][1].seq + 1
                wrong.setdefault(key, f"expected entry {expected}, got {version.seq}")
            last[key] = position, version
    keys = await journal.keys(name)
    for key in keys:
        if key not in wrong:
            found = await _difference(journal, name, key, *last.get(key, ("", Version())))
            wrong |= {key: found} if found else {}
    return {"subsystem": name, "keys": len(keys), "entries": count, "wrong": wrong}


async def _difference(
    journal: RedisJournal, name: str, key: str, position: str, version: Version
) -> str:
    """Say how a key's state differs from that after its last entry, or one of those since."""
    snapshot = await journal.read(name, key)
    for at, entry in await journal.entries(name, position, PAGE, key):
        if entry["seq"] <= snapshot.version.seq:
            position, version = at, Version(entry["seq"], entry["id"])
    if version != snapshot.version:
        return f"the state is version {snapshot.version}, the journal ends at {version}"
    _, state = await journal.states(name, position)
    if canonical(state) != canonical(snapshot.state):
        return f"the state of {version} differs from the journal's"
    return ""
