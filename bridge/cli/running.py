"""`bridge up`, `bridge settings`, `bridge bench`."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import re
from dataclasses import fields, replace
from typing import Any

from bridge.cli.command import Call, Commands, add_command
from bridge.progress import Progress
from bridge.settings import PREFIX, Settings
from bridge.up.run import up

# Password of an URL, as in redis://user:password@host.
_PASSWORD = re.compile(r"(?<=:)[^:/@]+(?=@)")
SECRET = frozenset({"token", "inngest_event_key"})


def add(commands: Commands) -> None:
    parser = add_command(
        commands, "up", "start everything that is missing and serve until Ctrl-C", _up, json=False
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="stop after the table; exit code 1 if a runtime that was started does not answer",
    )
    add_folders(parser)
    parser.add_argument("--port", type=int, help="port to listen on; 0 takes a free one")
    add_command(commands, "settings", "list every setting with its value", _settings)
    bench = add_command(
        commands, "bench", "measure this machine against bare peers", _bench, json=False
    )
    bench.add_argument(
        "figures",
        metavar="FIGURE",
        nargs="*",
        help="query, commit, journal, connections, link, intake, observe, moves, agents, fanout, "
        "rejoin, rest, outage, edges or all, the default; or hostile: others' p99 while a "
        "worker is attacked",
    )
    bench.add_argument(
        "--seconds",
        metavar="N",
        type=float,
        help="of each attack of hostile, default 60; of outage, default 20",
    )


def add_folders(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--contracts", metavar="DIR", action="append", help="one more folder of subsystems"
    )
    parser.add_argument("--implementations", metavar="FILE", help="their implementations")


def with_folders(call: Call) -> Settings:
    """Return the settings with the folders that were named on the command line."""
    changes: dict[str, Any] = {}
    if call.args.contracts:
        changes["contracts"] = ":".join(call.args.contracts)
    if call.args.implementations:
        changes["implementations"] = call.args.implementations
    return replace(call.settings, **changes)


def _up(call: Call) -> int:
    settings = with_folders(call)
    if call.args.port is not None:
        settings = replace(settings, port=call.args.port)

    asked = call.args.port is not None or f"{PREFIX}PORT" in os.environ
    with Progress() as progress:
        return up(settings, progress.say, check=call.args.check, port_asked=asked, doing=progress)


def _settings(call: Call) -> int:
    rows = []
    for field in fields(Settings):
        value = getattr(call.settings, field.name)
        rows.append(
            {
                "name": PREFIX + field.name.upper(),
                "value": _shown(field.name, value),
                "default": field.default,
                "help": field.metadata["help"],
            }
        )
    call.show({"name": "setting", "value": "value", "help": "meaning"}, rows)
    return 0


def _shown(name: str, value: Any) -> Any:
    if name in SECRET and value:
        return "(set)"
    return _PASSWORD.sub("***", value) if isinstance(value, str) else value


def _bench(call: Call) -> int:
    bench = importlib.import_module("bridge.bench")  # heavy, and needed by nothing else
    return int(asyncio.run(bench.main(call.args.figures, call.args.seconds)) or 0)
