"""`bridge doctor`: look at everything the bridge needs, and name the way out."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from bridge.access import check_exposure
from bridge.cli import storage
from bridge.cli.command import Call, Commands, add_command, when
from bridge.cli.effects import of_effects, read_pending
from bridge.cli.findings import Finding, of_builds, of_intake, of_workers
from bridge.client import NotReached
from bridge.contracts.files import contract_folders
from bridge.contracts.implementations import LeftOut, of_settings
from bridge.contracts.registry import Registry
from bridge.errors import BridgeError, ContractBroken
from bridge.joelclaw.intake.takeover import IntakeStatus, intake_status
from bridge.joelclaw.wanted import check_joelclaw
from bridge.journal.redis import RedisJournal
from bridge.message import RUNTIMES
from bridge.redis.commands import Failures, connect
from bridge.redis.server import UnsafeServer, check_server
from bridge.settings import BadSetting, Settings
from bridge.up.admin import fetch, served_by
from bridge.up.live import look_at
from bridge.up.place import NotRunning, RunFile
from bridge.up.programs import (
    Command,
    Missing,
    elixir,
    search_path,
    typescript,
    web,
)
from bridge.up.redis_server import HOW_TO_GET, disk_full, find_binary, loss_of

LEAST_PYTHON = (3, 11)
CLOCK_MS = 1000  # a worker and Redis further apart than this is worth a word
State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at; `found` says what it is and, unless ok, what to do."""

    what: str
    state: State
    found: str


def add(commands: Commands) -> None:
    parser = add_command(
        commands, "doctor", "look at what the bridge needs; exit code 1 if it fails", _run
    )
    parser.add_argument(
        "--live",
        action="store_true",
        help="only ask the running bridge whether it answers: a health check",
    )


def _run(call: Call) -> int:
    checks = list(alive(call.settings) if call.args.live else examine(call.settings))
    call.show(
        {"what": "what", "state": "state", "found": "found"}, [asdict(check) for check in checks]
    )
    return int(any(check.state == "fail" for check in checks))


def examine(settings: Settings) -> Iterator[Check]:
    """Look at one thing after the other; nothing is changed."""
    yield _python()
    yield _directory(Path(settings.dir))
    yield _exposure(settings)
    yield _contracts(settings)
    path = search_path()
    yield _program("typescript", settings.typescript, typescript(path))
    yield _program("elixir", settings.node, elixir(path))
    yield from _web(settings, path)
    joelclaw = settings.joelclaw_redis_url
    try:
        run = RunFile.read(Path(settings.dir))
    except NotRunning as error:
        yield Check("bridge", "warn", str(error))
        yield _port(settings)
        yield from _redis(settings.redis_url, settings)
    else:
        yield from _up(run)
        yield from _served(run, settings)
        yield from _said(of_builds(Path(settings.dir)))
        yield from _redis(run.redis_url, settings)
        joelclaw = joelclaw or run.joelclaw_redis_url
    if joelclaw:
        yield from _joelclaw(joelclaw)


def alive(settings: Settings) -> Iterator[Check]:
    """Ask the bridge of this directory, which must be running."""
    try:
        run = RunFile.read(Path(settings.dir))
    except NotRunning as error:
        yield Check("bridge", "fail", str(error))
    else:
        yield from (check for check in _up(run) if check.state == "fail")
        yield from _served(run, settings)


def _up(run: RunFile) -> Iterator[Check]:
    how = run.stopped()
    found = how or f"pid {run.pid} serves {run.url}"
    yield Check("bridge", "fail" if how else "ok", found)


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < LEAST_PYTHON:
        return Check("python", "fail", f"{version}: 3.11 or newer is needed")
    return Check("python", "ok", f"{version} ({sys.executable})")


def _directory(directory: Path) -> Check:
    existing = directory.resolve()
    while not existing.exists():
        existing = existing.parent
    if not os.access(existing, os.W_OK | os.X_OK):
        return Check("directory", "fail", f"{directory} cannot be written: set BRIDGE_DIR")
    if (full := disk_full(existing)) is not None:
        return Check("directory", "fail", full)
    return Check("directory", "ok", str(directory.resolve()))


def _exposure(settings: Settings) -> Check:
    try:
        check_exposure(settings)
    except BadSetting as error:
        return Check("address", "fail", str(error))
    return Check("address", "ok", f"{settings.host}:{settings.port}")


def _contracts(settings: Settings) -> Check:
    try:
        left_out: LeftOut = []
        registry = Registry.load(*contract_folders(settings), left_out=left_out)
        of_settings(settings, registry.names(), left_out)
        check_joelclaw(settings, registry)
    except (ContractBroken, BadSetting) as error:
        return Check("contracts", "fail", str(error))
    if left_out:
        return Check("contracts", "fail", "; ".join(map(str, left_out)))
    digests = registry.digests()
    shown = ", ".join(f"{name} {digest[:12]}" for name, digest in digests.items())
    return Check("contracts", "ok", shown)


def _program(runtime: str, setting: str, found: Command | Missing) -> Check:
    if setting == "off":
        return Check(runtime, "ok", "switched off")
    if setting == "external":
        return Check(runtime, "ok", "started by somebody else")
    if isinstance(found, Missing):
        return Check(runtime, "warn", found.reason)
    return Check(runtime, "ok", found.argv[0])


def _web(settings: Settings, path: str) -> Iterator[Check]:
    """Say whether the node can have its web part; nothing where there is no node."""
    if settings.node in ("off", "external") or isinstance(elixir(path), Missing):
        return
    if settings.phoenix_port == 0:
        yield Check("phoenix", "ok", "switched off by BRIDGE_PHOENIX_PORT=0")
    elif (missing := web(path)) is not None:
        yield Check("phoenix", "warn", missing.reason)
    else:
        yield Check("phoenix", "ok", "its packages are there")


def _port(settings: Settings) -> Check:
    try:
        with socket.create_server((settings.host, settings.port)):
            return Check("port", "ok", f"{settings.port} is free")
    except OSError as error:
        reason = error.strerror
        return Check("port", "warn", f"{settings.port}: {reason}: `bridge up` takes a free one")


def _served(run: RunFile, settings: Settings) -> Iterator[Check]:
    """Ask the running bridge whom it reaches: a runtime with other contracts is not reached."""
    try:
        fetch(f"{run.url}/health")
        status = fetch(f"{run.url}/admin/status", settings.token)
    except NotReached as error:
        yield Check("health", "fail", f"{error}: look into {settings.dir}/logs")
        return
    yield Check("health", "ok", "answers")
    yield from _said(of_workers(status))
    if run.phoenix_url:
        yield _phoenix(run.phoenix_url, settings)
    for runtime in RUNTIMES:
        served = served_by(status, runtime)
        if served:
            yield Check(f"{runtime} serves", "ok", ", ".join(sorted(served)))
        elif served is not None:
            why = f"nothing: not started, or built from other contracts ({settings.dir}/logs)"
            yield Check(f"{runtime} serves", "warn", why)
    for route in status["routes"] if isinstance(status.get("routes"), list) else ():
        name, owner = route["subsystem"], route["owner"]
        served = served_by(status, owner)
        if served and name not in served:
            why = f"owned by {owner}, which does not serve it: its implementation is not there"
            yield Check(f"{name} in {owner}", "warn", why)


def _phoenix(url: str, settings: Settings) -> Check:
    try:
        fetch(f"{url}/health")
    except NotReached as error:
        return Check("phoenix edge", "fail", f"{error}: look into {settings.dir}/logs/node.log")
    return Check("phoenix edge", "ok", f"answers at {url}")


def _redis(url: str, settings: Settings) -> Iterator[Check]:
    if not url:
        binary = find_binary(data=Path(settings.dir) / "redis")
        if binary is None:
            yield Check("redis", "fail", HOW_TO_GET)
        else:
            yield Check("redis", "ok", f"{binary.path}, started by `bridge up`")
        return
    try:
        report = asyncio.run(check_server(url, unsafe=settings.redis_unsafe))
    except (UnsafeServer, BridgeError, ValueError) as error:
        yield Check("redis", "fail", str(error))
        return
    warning = "; ".join([*report.problems, *filter(None, [loss_of(report.appendfsync)])])
    text = f"{report.version}, appendfsync {report.appendfsync}, {report.eviction}"
    yield Check("redis", "warn" if warning else "ok", warning or text)
    yield _clock(url)
    yield from _storage(url)
    yield from _live(url, settings)


def _storage(url: str) -> Iterator[Check]:
    async def look() -> tuple[storage.Looked, list[Finding]]:
        journal = RedisJournal(url)
        try:
            looked = await storage.look(journal)
            return looked, of_effects(await read_pending(journal))
        finally:
            await journal.close()

    try:
        looked, effects = asyncio.run(look())
    except BridgeError as error:
        yield Check("storage", "fail", error.message)
        return
    for text in storage.warnings(looked):
        yield Check("storage", "warn", text)
    found = looked.storage
    if found is not None and not found.why:
        yield Check("storage", "ok", f"{found.id[:8]}, since {when(found.made_ms)}")
    for finding in effects:
        text = "; ".join(filter(None, [finding.found, finding.warning]))
        yield Check(finding.what, "warn" if finding.warning else "ok", text)


def _live(url: str, settings: Settings) -> Iterator[Check]:
    """Hold live states against the contracts here."""
    try:
        registry = Registry.load(*contract_folders(settings), left_out=[])
        found = asyncio.run(look_at(url, registry))
    except (BridgeError, ContractBroken) as error:
        yield Check("states", "warn", f"not held against the contracts: {error}")
        return
    for live in found:
        what = f"states of {live.subsystem}"
        yield Check(what, "warn" if live.problem else "ok", live.problem or str(live))


def _joelclaw(url: str) -> Iterator[Check]:
    """Look at joelclaw's Redis: who takes its events, and whether somebody else does too."""

    async def look() -> IntakeStatus:
        client = connect(url, "bridge-cli")
        try:
            return await intake_status(client)
        finally:
            await client.aclose()

    try:
        status = asyncio.run(look())
    except (*Failures, ValueError) as error:
        yield Check("joelclaw's Redis", "fail", str(error))
        return
    yield from _said(of_intake(status))


def _said(findings: list[Finding]) -> Iterator[Check]:
    for finding in findings:
        state: State = "warn" if finding.warning else "ok"
        yield Check(finding.what, state, finding.warning or finding.found)


def _clock(url: str) -> Check:
    async def apart() -> float:
        async with connect(url, "bridge-cli") as client:
            await client.ping()  # connected
            before = time.time()
            seconds, microseconds = await client.time()
            return (before + time.time()) / 2 - seconds - microseconds / 1e6

    try:
        apart_ms = asyncio.run(apart()) * 1000
    except Failures as error:
        return Check("clock", "fail", str(error))
    if abs(apart_ms) > CLOCK_MS:
        text = f"{apart_ms:.0f} ms apart from Redis's: set both by NTP, timers follow Redis's"
        return Check("clock", "warn", text)
    return Check("clock", "ok", f"{apart_ms:.0f} ms apart from Redis's")
