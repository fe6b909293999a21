"""What every command has: arguments, settings, a way to print, a way to fail."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.errors import Unable
from bridge.progress import CLEAR, is_terminal, painted
from bridge.settings import Settings
from bridge.table import table
from bridge.up.place import RunFile

if TYPE_CHECKING:
    from bridge.journal.redis import RedisJournal
    from bridge.message import JSON

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Commands = Any

JSON_HELP = "print one JSON object per line instead of a table"


class CommandFailed(Unable):
    """The command cannot do it: one line on standard error, exit code 1."""


class UsageError(Exception):
    """The command was asked wrongly: one line on standard error, exit code 2."""


@dataclass(frozen=True, slots=True)
class Call:
    """One use of a command."""

    args: argparse.Namespace
    settings: Settings

    def show(self, columns: Mapping[str, str], rows: Sequence[Mapping[str, JSON]]) -> None:
        """Print rows: a table of `columns` (member to heading), or all of each as JSON."""
        if self.args.json:
            for row in rows:
                say_json(row)
        elif rows:
            cells = [[_cell(name, row.get(name)) for name in columns] for row in rows]
            print(table(list(columns.values()), cells, painted))
        else:
            print("none")

    @property
    def url(self) -> str:
        """Return the address of the bridge: `--url`, else the one that runs here."""
        return self.args.url or self.run_file().url

    @property
    def token(self) -> str:
        return self.args.token if self.args.token is not None else self.settings.token

    def run_file(self) -> RunFile:
        """Return where the bridge of this directory runs; raises NotRunning."""
        run = RunFile.read(Path(self.settings.dir))
        if how := run.stopped():
            say_error(how)
        return run

    @asynccontextmanager
    async def journal(self) -> AsyncIterator[RedisJournal]:
        """Open the journal: at BRIDGE_REDIS_URL, else at the Redis of the bridge running here."""
        from bridge.journal.redis import RedisJournal

        journal = RedisJournal(self.settings.redis_url or self.run_file().redis_url)
        try:
            yield journal
        finally:
            await journal.close()

    async def subsystems(self, journal: RedisJournal) -> list[str]:
        """Return the subsystem asked for, or all; raises CommandFailed if it is unknown."""
        known = [route.subsystem for route in await journal.routes()]
        wanted = self.args.subsystem
        if wanted is None:
            return known
        if wanted not in known:
            raise CommandFailed(
                f"no subsystem {wanted!r}, there are: {', '.join(known) or 'none'}"
            )
        return [wanted]


def add_command(
    commands: Commands,
    name: str,
    help: str,
    run: Callable[[Call], int],
    *,
    json: bool = True,
) -> argparse.ArgumentParser:
    """Add a command that `run` carries out; it returns the exit code."""
    parser = commands.add_parser(name, help=help, description=help)
    if json:
        parser.add_argument("--json", action="store_true", help=JSON_HELP)
    parser.set_defaults(run=run)
    return parser


def add_group(
    commands: Commands, name: str, help: str, run: Callable[[Call], int], **defaults: JSON
) -> Commands:
    """Add a command with commands of its own; alone, it does `run` with `defaults`."""
    parser = add_command(commands, name, help, run)
    parser.set_defaults(subsystem=None, **defaults)
    return parser.add_subparsers(metavar="COMMAND")


def add_subsystem(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    parser.add_argument(
        "subsystem",
        metavar="SUBSYSTEM",
        nargs=None if required else "?",
        help="name of a subsystem" if required else "only this subsystem",
    )


def add_who(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--by", help="who does it, for the history; default: your login")
    parser.add_argument("--why", default="", help="and why")


def who(call: Call) -> dict[str, str]:
    """Return who does it and why, as the history has it."""
    if call.args.by is None:
        try:
            call.args.by = getpass.getuser()
        except (OSError, KeyError):  # a container's user may have no name
            call.args.by = "cli"
    return {"by": call.args.by, "why": call.args.why}


def add_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", help="address of the bridge, default: the one running here")
    parser.add_argument("--token", help="its token, default: BRIDGE_TOKEN")


def say_json(value: JSON) -> None:
    print(json.dumps(value, ensure_ascii=False, separators=(",", ":")), flush=True)


def say_error(text: str) -> None:
    begin = CLEAR if is_terminal(sys.stderr) else ""  # of what a Progress has drawn
    prefix = painted("bridge:", "warn", sys.stderr)
    print(f"{begin}{prefix} {text}", file=sys.stderr, flush=True)


def when(ms: int) -> str:
    """Return a time for people, in UTC."""
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{ms % 1000:03}"


def _cell(name: str, value: JSON) -> JSON:
    if name.endswith("_ms") and isinstance(value, int):
        return when(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return value
