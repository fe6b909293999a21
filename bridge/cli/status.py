"""`bridge status`: what runs here, who owns what, and what needs somebody to look at it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from bridge.cli import storage
from bridge.cli.command import Call, Commands, add_command, say_error, when
from bridge.cli.effects import of_effects, read_pending
from bridge.cli.findings import (
    COLUMNS,
    Finding,
    of_builds,
    of_intake,
    of_outlet,
    of_workers,
    outlet_in,
)
from bridge.cli.joelclaw import joelclaw_redis
from bridge.errors import BridgeError
from bridge.joelclaw.intake.takeover import intake_status
from bridge.joelclaw.quarantine import Quarantine
from bridge.journal.redis import RedisJournal
from bridge.message import JSON, RUNTIMES
from bridge.redis.commands import Failures, connect
from bridge.redis.server import UnsafeServer, check_server
from bridge.up.admin import fetch, served_by
from bridge.up.gateway import share_of
from bridge.up.place import RunFile
from bridge.up.redis_server import disk_full, loss_of


def add(commands: Commands) -> None:
    add_command(commands, "status", "show what runs here, and what needs a look", _run)


def _run(call: Call) -> int:
    run = call.run_file()
    findings = [Finding("bridge", f"pid {run.pid} serves {run.url}")]
    if run.phoenix_url:
        findings.append(Finding("phoenix", f"serves {run.phoenix_url}"))
    if share := share_of(Path(call.settings.dir)):
        text = f"{share} % of new connections go to the node's edge, while it is there"
        findings.append(Finding("gateway", text))
    findings += _worker(fetch(f"{run.url}/admin/status", call.settings.token))
    findings += of_builds(Path(call.settings.dir))
    findings += asyncio.run(_storage(call, run))
    findings += asyncio.run(_stored(call, run))
    call.show(COLUMNS, [asdict(finding) for finding in findings])
    for finding in findings:
        if finding.warning:
            say_error(f"{finding.what}: {finding.warning}")
    return 0


def _worker(status: JSON) -> Iterator[Finding]:
    """Yield what the workers say together."""
    yield from of_workers(status)
    for runtime in RUNTIMES:
        served = ", ".join(sorted(served_by(status, runtime) or ()))
        yield Finding(runtime, f"serves {served}" if served else "serves nothing")
    for node in status.get("nodes", []):
        stands_by = ", ".join(node["stands_by"])
        found = f"serves {', '.join(node['serves']) or 'nothing'}"
        hangs = "it does not answer" if node["stalled"] else ""
        yield Finding(
            node["node"], f"{found}; stands by for {stands_by}" if stands_by else found, hangs
        )
    routes = status.get("routes")
    if isinstance(routes, list):
        owners = ", ".join(f"{route['subsystem']} {route['owner']}" for route in routes)
        yield Finding("routes", owners)
        yield from moving(routes)
    if (outlet := outlet_in(status)) is not None:
        yield of_outlet(outlet)


def moving(routes: list[JSON]) -> Iterator[Finding]:
    """Yield which subsystems are being moved, and how far it is."""
    for route in routes:
        if route["candidate"]:
            share = f" {route['share']} %" if route["share"] else ""
            to = f"{route['owner']} -> {route['candidate']}, {route['phase']}{share}"
            yield Finding("move", f"{route['subsystem']}: {to}")


async def _storage(call: Call, run: RunFile) -> list[Finding]:
    """Look at the bridge's Redis: what it is, whether it lost something, what it refuses."""
    if (full := disk_full(Path(call.settings.dir))) is not None:
        return [Finding("storage", "no room", full)]
    journal = RedisJournal(run.redis_url)
    try:
        report = await check_server(run.redis_url, unsafe=True)
        looked = await storage.look(journal)
        found = looked.storage
        effects = of_effects(await read_pending(journal))
    except (BridgeError, UnsafeServer) as error:
        return [Finding("storage", "does not serve", str(error))]
    finally:
        await journal.close()
    worth = list(filter(None, [*report.problems, loss_of(report.appendfsync)]))
    warnings = [*worth, *storage.warnings(looked)]
    what = f"{found.id[:8]} since {when(found.made_ms)}" if found is not None else "empty"
    text = f"{what}, Redis {report.version}, appendfsync {report.appendfsync}"
    return [Finding("storage", text, "; ".join(warnings)), *effects]


async def _stored(call: Call, run: RunFile) -> list[Finding]:
    """Read what stands in the two Redises."""
    findings = []
    own = connect(run.redis_url, "bridge-cli")
    try:
        count = await Quarantine(own).count()
        warning = "`bridge quarantine` shows them" if count else ""
        findings.append(Finding("quarantine", f"{count} items", warning))
    except Failures as error:
        findings.append(Finding("redis", str(error), "it does not answer"))
    finally:
        await own.aclose()
    if not (call.settings.joelclaw_redis_url or run.joelclaw_redis_url):
        return findings
    try:
        async with joelclaw_redis(call) as redis:
            intake = await intake_status(redis)
    except Failures as error:
        return [*findings, Finding("joelclaw's Redis", str(error), "it does not answer")]
    return findings + of_intake(intake)
