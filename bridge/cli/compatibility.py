"""`bridge contracts diff`, `release`, `migrate`, `asyncapi`: what changes, and what goes out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from bridge import __version__
from bridge.canonical import canonical
from bridge.cli.command import (
    Call,
    CommandFailed,
    Commands,
    UsageError,
    add_address,
    add_command,
    add_subsystem,
    say_error,
)
from bridge.cli.running import add_folders, with_folders
from bridge.client import ErrorReply, NotReached
from bridge.contracts.asyncapi import document
from bridge.contracts.compatibility import changes
from bridge.contracts.files import META, contract_folders, read_json
from bridge.contracts.registry import Registry
from bridge.contracts.released import release
from bridge.contracts.sources import NoSource, Stand, at_revision, stands
from bridge.edge.admin import MAX_KEYS
from bridge.errors import ContractBroken
from bridge.live import SAMPLES
from bridge.message import JSON
from bridge.up.admin import put

CHANGES = {
    "subsystem": "subsystem",
    "since": "since",
    "result": "result",
    "where": "where",
    "pointer": "at",
    "rule": "rule",
    "message": "what",
}
T = TypeVar("T")


def add(group: Commands) -> None:
    parser = add_command(
        group,
        "diff",
        "say what a changed contract breaks, and for whom; exit code 1 if it breaks anything",
        _diff,
    )
    for name in ("old", "new"):
        help = f"the {name} contracts: a file, a folder, or REVISION:path of git"
        parser.add_argument(name, metavar=name.upper(), nargs="?", help=help)
    parser.add_argument(
        "--against",
        metavar="REVISION",
        help="instead of OLD and NEW: the contracts here against those of a revision of git",
    )
    add_folders(parser)
    parser = add_command(
        group,
        "release",
        "keep a copy of each contract's version, which from then on may not change",
        _release,
    )
    add_subsystem(parser)
    add_folders(parser)

    parser = add_command(
        group,
        "migrate",
        "migrate every key of a subsystem now, in small steps, through the running bridge",
        _migrate,
    )
    add_subsystem(parser, required=True)
    add_address(parser)

    parser = add_command(
        group,
        "asyncapi",
        "write the gateway's topics, messages and schemas as an AsyncAPI 3 document",
        _asyncapi,
        json=False,
    )
    add_folders(parser)


def _diff(call: Call) -> int:
    pairs = _against(call) if call.args.against is not None else [_two(call)]
    rows = [row for old, new in pairs for row in _rows(old, new)]
    call.show(CHANGES, rows)
    return int(any(row["breaking"] for row in rows))


def _two(call: Call) -> tuple[dict[str, Stand], dict[str, Stand]]:
    if call.args.old is None or call.args.new is None:
        raise UsageError("expected OLD and NEW, or --against REVISION")
    return _read(stands, call.args.old), _read(stands, call.args.new)


def _against(call: Call) -> list[tuple[dict[str, Stand], dict[str, Stand]]]:
    if call.args.old is not None:
        raise UsageError("expected either OLD and NEW or --against REVISION, got both")
    folders = [Path(folder) for folder in call.args.contracts or ()]
    return [
        (_read(at_revision, call.args.against, folder), _read(stands, str(folder)))
        for folder in folders or contract_folders(with_folders(call))
    ]


def _read(read: Callable[..., T], *arguments: Any) -> T:
    try:
        return read(*arguments)
    except (NoSource, ContractBroken) as error:
        raise UsageError(str(error)) from None


def _rows(old: Mapping[str, Stand], new: Mapping[str, Stand]) -> list[dict[str, JSON]]:
    """Compare each subsystem with what it was, and with every version that was released."""
    rows: list[dict[str, JSON]] = []
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name, Stand(None)), new.get(name, Stand(None))
        former = {**before.released, **after.released}
        known = [contract for _, contract in sorted(former.items())]
        if before.contract is not None and not any(_same(before.contract, c) for c in known):
            known.append(before.contract)
        if after.contract is not None:
            known = [contract for contract in known if not _same(contract, after.contract)]
        news = before.contract is None and not known
        for contract in [None] if news else known:
            since = f"{name}@{contract['version']}" if contract else ""
            for change in changes(contract, after.contract):
                result = f"breaks {change.breaks}" if change.breaking else "fine"
                rows.append({"since": since, "result": result, **asdict(change)})
    return rows


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return canonical(one) == canonical(other)


def _asyncapi(call: Call) -> int:
    settings = with_folders(call)
    registry = Registry.load(*contract_folders(settings))
    contracts = {name: read_json(registry.file(name)) for name in registry.names()}
    errors = read_json(META / "envelopes.schema.json")["$defs"]["ErrorReply"]
    host = f"{settings.host}:{settings.port}"
    made = document(contracts, errors, __version__, host)
    print(json.dumps(made, indent=2, ensure_ascii=False))
    return 0


def _migrate(call: Call) -> int:
    """Ask for some keys at a time; what is migrated stays so, whenever this ends."""
    name = call.args.subsystem

    async def keys() -> list[str]:
        async with call.journal() as journal:
            await call.subsystems(journal)
            return await journal.keys(name)

    found = asyncio.run(keys())
    address = f"{call.url}/admin/migrate/{quote(name, safe='')}"
    migrated = 0
    failed: dict[str, str] = {}
    for n in range(0, len(found), MAX_KEYS):
        try:
            done = put(address, call.token, found[n : n + MAX_KEYS])
        except ErrorReply as refused:
            raise CommandFailed(str(refused.response["message"])) from None
        except NotReached as error:
            text = f"{n} of {len(found)} keys were looked at, {migrated} migrated; ask again"
            raise CommandFailed(f"{error}: {text}") from None
        migrated += done["migrated"]
        failed |= done["failed"]
    for key, why in list(failed.items())[:SAMPLES]:
        say_error(f"{key}: {why}")
    row = {"subsystem": name, "keys": len(found), "migrated": migrated, "failed": len(failed)}
    call.show({column: column for column in row}, [row])
    return int(bool(failed))


def _release(call: Call) -> int:
    settings = with_folders(call)
    folders = [Path(folder) for folder in call.args.contracts or ()]
    registry = Registry.load(*(folders or contract_folders(settings)))
    names = [registry.get(call.args.subsystem).name] if call.args.subsystem else registry.names()
    try:
        made = [label for name in names if (label := release(registry.file(name)))]
    except ValueError as error:
        raise CommandFailed(str(error)) from None
    for label in made:
        print(f"released {label}")
    if not made:
        say_error("nothing to release: each version here is released already")
    return 0
