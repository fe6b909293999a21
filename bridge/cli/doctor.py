"""`bridge doctor`: look at everything the bridge needs, and name the way out."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from bridge.cli.command import Call, CommandFailed, Commands, add_command
from bridge.contracts.registry import Registry
from bridge.edge.access import check_exposure
from bridge.errors import BridgeError, ContractBroken
from bridge.journal.server import UnsafeServer, check_server
from bridge.settings import BadSetting, Settings
from bridge.up import programs
from bridge.up.place import NotRunning, RunFile
from bridge.up.redis_server import HOW_TO_GET, find_binary, loss_of

SLOW_STEP_MS = 1000


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at; `text` says what was found and, unless ok, what to do."""

    what: str
    state: Literal["ok", "warn", "fail"]
    text: str


def add(commands: Commands) -> None:
    add_command(commands, "doctor", "look at what the bridge needs; exit code 1 if it fails", _run)


def _run(call: Call) -> int:
    checks = list(examine(call.settings))
    call.show({"what": "what", "state": "state", "text": "found"}, [asdict(c) for c in checks])
    return int(any(check.state == "fail" for check in checks))


def examine(settings: Settings) -> Iterator[Check]:
    """Look at one thing after the other; nothing is changed."""
    yield _python()
    yield _directory(Path(settings.dir))
    yield _exposure(settings)
    run = _run_file(settings)
    yield run if isinstance(run, Check) else Check("bridge", "ok", f"pid {run.pid}, {run.url}")
    running = run if isinstance(run, RunFile) else None
    yield _port(settings, running)
    yield _redis(settings, running)
    path = programs.search_path()
    yield _program("typescript", settings.typescript, programs.typescript(path))
    yield _program("elixir", settings.node, programs.elixir(path))
    yield _contracts(settings)
    if running is not None:
        yield _health(running)
    yield _clock()
