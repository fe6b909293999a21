"""`bridge diff`: what the two sides of a move differ in, and what of it is wanted."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from bridge.cli.command import Call, CommandFailed, Commands, UsageError, add_command, say_json
from bridge.message import JSON
from bridge.table import table
from bridge.up.admin import fetch

if TYPE_CHECKING:
    from bridge.journal.redis import RedisJournal

DAY_MS = 86_400_000
DIFF_WORDS = ("accept", "accepted", "forget")
BOTH = "owner / candidate"


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "diff",
        "show what the two sides of a move differ in, and accept what is wanted",
        _diff,
    )
    parser.add_argument(
        "words",
        nargs="+",
        metavar="WORD",
        help="SUBSYSTEM; or accept SUBSYSTEM POINTER KIND, accepted SUBSYSTEM, "
        "forget SUBSYSTEM ID",
    )
    parser.add_argument("--operation", default="", help="accept: of this operation only")
    parser.add_argument("--owner", default="", help="accept: who answers for it")
    parser.add_argument("--reason", default="", help="accept: why it is wanted")
    parser.add_argument(
        "--days", type=float, default=30.0, help="accept: for how long, default 30"
    )


def _diff(call: Call) -> int:
    word, *rest = call.args.words
    if word not in DIFF_WORDS and not rest:
        return _show_diff(call, word)
    wanted = {"accept": 3, "accepted": 1, "forget": 2}
    if len(rest) != wanted.get(word, -1):
        raise UsageError(
            "expected SUBSYSTEM, accept SUBSYSTEM POINTER KIND, accepted SUBSYSTEM, or "
            "forget SUBSYSTEM ID"
        )
    if word == "accept":
        return _accept(call, *rest)
    return _accepted(call, *rest) if word == "accepted" else _forget(call, *rest)


def _show_diff(call: Call, subsystem: str) -> int:
    status = fetch(f"{call.run_file().url}/admin/moves/{quote(subsystem)}", call.settings.token)
    if status["move"] is None:
        raise CommandFailed(f"no move of {subsystem}: `bridge move {subsystem} --to RUNTIME`")
    found = status["differences"]
    if call.args.json:
        for difference in found:
            say_json(difference)
    else:
        compared = f"{status['evidence']['compared']} messages compared"
        print(f"{compared}\n{differences(found)}" if found else f"{compared}, no differences")
    return int(any(not difference["accepted"] for difference in found))


def differences(found: list[dict[str, Any]]) -> str:
    """Return groups of differences as a table."""
    rows = []
    for each in found:
        example = each["example"] or {}
        rows.append(
            [
                each["operation"],
                each["pointer"] or "(whole)",
                each["kind"],
                each["messages"],
                each["accepted"] and f"accepted {each['accepted']}",
                f"{example.get('owner', '')} / {example.get('candidate', '')}",
                example.get("message", ""),
            ]
        )
    headings = [
        "operation",
        "pointer",
        "kind",
        "messages",
        "",
        "owner / candidate",
        "for example",
    ]
    return table(headings, rows)


def _accept(call: Call, subsystem: str, pointer: str, kind: str) -> int:
    args = call.args
    if not args.owner or not args.reason or args.days <= 0:
        raise UsageError("accept wants --owner, --reason and more than no --days")
    pointer = "" if pointer == "(whole)" else pointer

    async def accept() -> dict[str, JSON]:
        async with call.journal() as journal:
            now_ms = await journal.now_ms()
            accepted: dict[str, JSON] = {
                "id": uuid.uuid4().hex[:6],
                "operation": args.operation,
                "pointer": pointer,
                "kind": kind,
                "owner": args.owner,
                "reason": args.reason,
                "until_ms": now_ms + int(args.days * DAY_MS),
                "at_ms": now_ms,
            }
            await _known(call, subsystem, journal)
            await journal.moves.accept(subsystem, accepted["id"], accepted)
            return accepted

    call.show(ACCEPTED, [asyncio.run(accept())])
    return 0


ACCEPTED = {
    "id": "id",
    "operation": "operation",
    "pointer": "pointer",
    "kind": "kind",
    "owner": "owner",
    "reason": "reason",
    "until_ms": "until",
}


def _accepted(call: Call, subsystem: str) -> int:
    async def read() -> list[dict[str, JSON]]:
        async with call.journal() as journal:
            await _known(call, subsystem, journal)
            return await journal.moves.accepted(subsystem)

    rows = asyncio.run(read())
    call.show(ACCEPTED, sorted(rows, key=lambda row: row["at_ms"]))
    return 0


def _forget(call: Call, subsystem: str, id: str) -> int:
    async def forget() -> bool:
        async with call.journal() as journal:
            await _known(call, subsystem, journal)
            return await journal.moves.accept(subsystem, id, None)

    if not asyncio.run(forget()):
        raise CommandFailed(f"nothing accepted as {id!r}: `bridge diff accepted {subsystem}`")
    return 0


async def _known(call: Call, subsystem: str, journal: RedisJournal) -> None:
    call.args.subsystem = subsystem
    await call.subsystems(journal)
