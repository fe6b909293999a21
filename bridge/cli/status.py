"""`bridge status`: what runs here, who owns what, and what needs somebody to look at it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from redis.exceptions import RedisError

from bridge.cli.command import Call, Commands, add_command, say_error
from bridge.cli.joelclaw import described, joelclaw_redis, second_consumer
from bridge.joelclaw.intake.takeover import intake_status
from bridge.joelclaw.quarantine import Quarantine
from bridge.joelclaw.server import connect
from bridge.message import JSON, RUNTIMES
from bridge.up.admin import fetch, served_by
from bridge.up.place import RunFile


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that is so; `warning` says what is wrong with it, empty if nothing is."""

    what: str
    found: str
    warning: str = ""


def add(commands: Commands) -> None:
    add_command(commands, "status", "show what runs here, and what needs a look", _run)


def _run(call: Call) -> int:
    run = call.run_file()
    lines = [Line("bridge", f"pid {run.pid} serves {run.url}")]
    lines += _worker(fetch(f"{run.url}/admin/status", call.settings.token))
    lines += asyncio.run(_stored(call, run))
    call.show({"what": "what", "found": "found"}, [asdict(line) for line in lines])
    for line in lines:
        if line.warning:
            say_error(f"{line.what}: {line.warning}")
    return 0


def _worker(status: JSON) -> Iterator[Line]:
    """Yield what the worker says that answered."""
    for runtime in RUNTIMES:
        served = ", ".join(sorted(served_by(status, runtime) or ()))
        yield Line(runtime, f"serves {served}" if served else "serves nothing")
    routes = status.get("routes")
    if isinstance(routes, list):
        owners = ", ".join(f"{route['subsystem']} {route['owner']}" for route in routes)
        yield Line("routes", owners)
    outlet = status.get("joelclaw", {}).get("outlet") or {}
    if outlet.get("kind"):
        warning = (
            outlet.get("failing")
            or outlet.get("warning")
            or ("" if outlet["receiver"] or not outlet["deliveries"] else "nobody receives there")
        )
        yield Line("outlet", f"{outlet['kind']}, {outlet['deliveries']} not delivered", warning)


async def _stored(call: Call, run: RunFile) -> list[Line]:
    """Read what stands in the two Redises."""
    lines = []
    own = connect(run.redis_url, "bridge-cli")
    try:
        count = await Quarantine(own).count()
        warning = "`bridge quarantine` shows them" if count else ""
        lines.append(Line("quarantine", f"{count} items", warning))
    except (RedisError, OSError) as error:
        lines.append(Line("redis", str(error), "it does not answer"))
    finally:
        await own.aclose()
    if not (call.settings.joelclaw_redis_url or run.joelclaw_redis_url):
        return lines
    try:
        async with joelclaw_redis(call) as redis:
            intake = await intake_status(redis)
    except (RedisError, OSError) as error:
        return [*lines, Line("joelclaw's Redis", str(error), "it does not answer")]
    lines += [Line(what, found) for what, found in described(intake)]
    if second := second_consumer(intake):
        lines.append(Line("second consumer", ", ".join(intake.others), second))
    return lines
