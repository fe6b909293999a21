"""`bridge reload`: take in implementations as their files are now."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from bridge.cli.command import Call, CommandFailed, Commands, add_command, add_subsystem
from bridge.up.place import RunFile

TIMEOUT_S = 120.0  # it may start a node and a service again


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "reload",
        "serve a subsystem's implementations as their files are now, in all workers at once",
        _run,
        json=False,
    )
    add_subsystem(parser, required=True)


def _run(call: Call) -> int:
    return ask(call, "reload", call.args.subsystem)


def ask(call: Call, request: str, about: str) -> int:
    """Ask `bridge up` for something, print what it does, and return the exit code."""
    run = RunFile.read(Path(call.settings.dir))
    if how := run.stopped():
        raise CommandFailed(how)
    failed = "`bridge up` is gone"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT_S)
        try:
            connection.connect(run.listener)
            connection.sendall(json.dumps({request: about}).encode() + b"\n")
            for line in connection.makefile():
                told = json.loads(line)
                if "said" in told:
                    print(told["said"], flush=True)
                failed = told.get("failed", failed)
        except OSError as error:
            failed = f"`bridge up` does not answer: {error}"
    if failed:
        raise CommandFailed(failed)
    return 0
