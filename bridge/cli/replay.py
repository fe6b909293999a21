"""`bridge replay`: what an implementation decides on recorded events, beside the daemon."""

from __future__ import annotations

import asyncio
from pathlib import Path

from bridge.cli.command import Call, CommandFailed, Commands, UsageError, add_command, say_json
from bridge.cli.running import add_folders, with_folders
from bridge.cli.runtimes import present
from bridge.contracts.files import contract_folders
from bridge.contracts.registry import Registry
from bridge.errors import BridgeError
from bridge.joelclaw import SUBSYSTEM
from bridge.message import JSON, RUNTIMES
from bridge.moves.evidence import Accepted
from bridge.moves.evidence import Group as Difference
from bridge.observe.recording import BadRecording, lines
from bridge.observe.replay import (
    RECEIVE,
    Comparison,
    Group,
    Kind,
    NotReplayable,
    receiver,
    replay,
)
from bridge.progress import Progress
from bridge.table import table
from bridge.up.place import NotRunning

COLUMNS = {
    "daemon": "the daemon",
    "ours": "ours",
    "count": "events",
    "example": "for example",
    "types": "types",
}
MOST_TYPES = 3
POINTER = "/reply/decision"  # what of our outcome is compared
KINDS: tuple[Kind, ...] = ("same", "different", "dropped", "not compared")
HEADINGS: dict[Kind, str] = {
    "different": "decided otherwise",
    "dropped": "dropped by the daemon, and what ours decides",
    "not compared": "not compared: what the daemon did cannot be told, or was none of these",
}


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "replay",
        "run recorded events through one of our implementations and compare its decisions with "
        "the daemon's; exit code 1 if one differs, but for what the daemon lost, and what was "
        "accepted by `bridge diff accept`",
        _run,
    )
    parser.add_argument("recording", metavar="RECORDING", type=Path, help="of `bridge observe`")
    parser.add_argument(
        "--subsystem", default=SUBSYSTEM, metavar="NAME", help=f"default {SUBSYSTEM}"
    )
    parser.add_argument(
        "--runtime",
        default="python",
        choices=RUNTIMES,
        help="whose implementation, default python",
    )
    add_folders(parser)


def _run(call: Call) -> int:
    path = call.args.recording
    try:
        next(lines(path))
    except BadRecording as error:
        raise CommandFailed(str(error)) from None
    except OSError as error:
        raise CommandFailed(f"{path}: {error.strerror}") from None
    settings = with_folders(call)
    registry = Registry.load(*contract_folders(settings))
    name, runtime_name = call.args.subsystem, call.args.runtime
    contract = registry.get(name)

    async def run(progress: Progress) -> Comparison:
        receiver(contract)
        async with present(settings, registry, [runtime_name], progress) as here:
            runtime = here.runtimes.get(runtime_name)
            if runtime is None:
                why = here.missing.get(runtime_name) or here.failed.get(runtime_name)
                raise CommandFailed(f"{runtime_name}: {why}")
            if not runtime.available(name):
                raise CommandFailed(f"{runtime_name} has no implementation of {name}")
            return await replay(path, contract, runtime, settings.zone, progress)

    try:
        with Progress() as progress:
            comparison = asyncio.run(run(progress))
    except NotReplayable as error:
        raise UsageError(str(error)) from None
    except BadRecording as error:
        raise CommandFailed(str(error)) from None
    accepted = asyncio.run(_accepted(call, name))
    _show(call, comparison, f"{name} in {runtime_name}", accepted)
    return int(any(_by(accepted, group) is None for group in comparison.of("different")))


async def _accepted(call: Call, name: str) -> list[Accepted]:
    """Return the differences that are known and wanted; none where no bridge keeps them."""
    try:
        async with call.journal() as journal:
            now_ms = await journal.now_ms()
            found = [Accepted(**each) for each in await journal.moves.accepted(name)]
    except (NotRunning, BridgeError):
        return []
    return [each for each in found if now_ms < each.until_ms]


def _by(accepted: list[Accepted], group: Group) -> Accepted | None:
    """Return who accepted a difference, named as `bridge diff accept` names it."""
    difference = Difference(RECEIVE, POINTER, f"{group.daemon}/{group.ours}")
    return next((each for each in accepted if each.covers(difference, 0)), None)


def _show(call: Call, found: Comparison, ours: str, accepted: list[Accepted]) -> None:
    if call.args.json:
        for kind in KINDS:
            for group in found.of(kind):
                by = _by(accepted, group)
                row = {"kind": kind, **_row(group), "types": dict(group.types)}
                say_json({**row, "accepted": by.id if by else ""})
        return
    parts = [
        f"{found.events:,} events through {ours}: {found.count('same'):,} decided as the daemon "
        f"did, {found.count('different'):,} otherwise, {found.count('dropped'):,} that it "
        f"dropped, {found.count('not compared'):,} not compared"
    ]
    for kind, heading in HEADINGS.items():
        if groups := found.of(kind):
            cells = [list(_row(group).values()) for group in groups]
            parts.append(f"{heading}:\n{table(list(COLUMNS.values()), cells)}")
            reasons = {each.id: each for group in groups if (each := _by(accepted, group))}
            parts += [
                f"accepted: {each.kind} by {each.owner}, {each.reason}"
                for each in reasons.values()
            ]
    print("\n\n".join(parts))


def _row(group: Group) -> dict[str, JSON]:
    most = group.types.most_common(MOST_TYPES)
    types = ", ".join(f"{name} {count}" for name, count in most)
    more = f" and {len(group.types) - MOST_TYPES} more" if len(group.types) > MOST_TYPES else ""
    return {
        "daemon": group.daemon,
        "ours": group.ours,
        "count": group.count,
        "example": group.example,
        "types": types + more,
    }
