"""`bridge quarantine list|show|redrive`: what was refused, kept whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict

from bridge.cli.command import Call, CommandFailed, Commands, add_command, add_group, say_json
from bridge.cli.joelclaw import joelclaw_redis
from bridge.errors import BridgeError
from bridge.joelclaw import SUBSYSTEM
from bridge.joelclaw.envelopes import Envelopes
from bridge.joelclaw.quarantine import DELIVERIES_SOURCE, Quarantine, Quarantined
from bridge.message import JSON
from bridge.redis.commands import Failures, connect

LIMIT = 100
COLUMNS = {
    "id": "id",
    "at_ms": "came",
    "source": "from",
    "code": "code",
    "message": "why",
}


def add(commands: Commands) -> None:
    group = add_group(
        commands,
        "quarantine",
        "list, show or redrive what was refused or could not be delivered; alone: list",
        _list,
        limit=LIMIT,
    )
    parser = add_command(group, "list", "show what is in the quarantine, oldest first", _list)
    parser.add_argument(
        "--limit", type=int, default=LIMIT, help=f"so many at most, default {LIMIT}"
    )
    show = add_command(group, "show", "print one item whole", _show, json=False)
    again = add_command(
        group, "redrive", "put items back to where they came from", _redrive, json=False
    )
    show.add_argument("id", metavar="ID")
    again.add_argument("id", metavar="ID", nargs="+")


def _list(call: Call) -> int:
    async def read() -> list[Quarantined]:
        async with _quarantine(call) as quarantine:
            return await quarantine.list(call.args.limit)

    call.show(COLUMNS, [_shown(item) for item in asyncio.run(read())])
    return 0


def _show(call: Call) -> int:
    async def read() -> Quarantined | None:
        async with _quarantine(call) as quarantine:
            return await quarantine.get(call.args.id)

    item = asyncio.run(read())
    if item is None:
        raise _unknown([call.args.id])
    say_json(_shown(item))
    return 0


def _shown(item: Quarantined) -> dict[str, JSON]:
    return asdict(item) | {"raw": item.as_bytes().decode(errors="backslashreplace")}


def _redrive(call: Call) -> int:
    unknown = asyncio.run(_put_back(call, call.args.id))
    if unknown:
        raise _unknown(unknown)
    print(f"{len(call.args.id)} put back")
    return 0


async def _put_back(call: Call, ids: list[str]) -> list[str]:
    """Redrive items and return the ids of those that are not there."""
    unknown = []
    async with _quarantine(call) as quarantine:
        for id in ids:
            item = await quarantine.get(id)
            if item is None:
                unknown.append(id)
            elif item.source == DELIVERIES_SOURCE:
                async with call.journal() as journal:
                    await quarantine.redrive_delivery(item, journal.deliveries(SUBSYSTEM))
            else:
                _check(item)
                async with joelclaw_redis(call) as joelclaw:
                    await quarantine.redrive_event(item, joelclaw)
    return unknown


def _check(item: Quarantined) -> None:
    """Refuse to put back what would be refused again, or dropped by joelclaw without a word."""
    try:
        Envelopes.load().check("SystemEvent", item.as_bytes())
    except BridgeError as error:
        raise CommandFailed(
            f"{item.id} would be refused again: {error.message}. Send it corrected: "
            "bridge call triage:gateway receive '{\"event\": …}'"
        ) from None


def _unknown(ids: list[str]) -> CommandFailed:
    return CommandFailed(f"no item {', '.join(ids)}: `bridge quarantine list` shows them")


@asynccontextmanager
async def _quarantine(call: Call) -> AsyncIterator[Quarantine]:
    redis = connect(call.settings.redis_url or call.run_file().redis_url, "bridge-cli")
    try:
        yield Quarantine(redis)
    except (BridgeError, *Failures) as error:
        raise CommandFailed(f"Redis: {error}") from None
    finally:
        await redis.aclose()
