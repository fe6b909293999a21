"""`bridge routes` and `bridge route`: who owns what, and since when."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from bridge.cli.command import (
    Call,
    CommandFailed,
    Commands,
    add_command,
    add_subsystem,
    say_error,
)
from bridge.client import NotReached
from bridge.journal.store import Route
from bridge.message import RUNTIMES
from bridge.up.admin import fetch, served_by
from bridge.up.place import NotRunning

COLUMNS = {
    "subsystem": "subsystem",
    "owner": "owner",
    "fallback": "fallback",
    "epoch": "epoch",
    "changed_ms": "since",
}


def add(commands: Commands) -> None:
    parser = add_command(commands, "routes", "show who owns each subsystem", _routes)
    add_subsystem(parser)
    parser.add_argument(
        "--log", action="store_true", help="every route there ever was, oldest first"
    )
    parser = add_command(commands, "route", "make a runtime the owner of a subsystem", _route)
    add_subsystem(parser, required=True)
    parser.add_argument("runtime", metavar="RUNTIME", choices=RUNTIMES, help=", ".join(RUNTIMES))


def _routes(call: Call) -> int:
    async def read() -> list[Route]:
        async with call.journal() as journal:
            names = await call.subsystems(journal)
            if call.args.log:
                return [route for name in names for route in await journal.route_log(name)]
            return [route for route in await journal.routes() if route.subsystem in names]

    call.show(COLUMNS, [asdict(route) for route in asyncio.run(read())])
    return 0


def _route(call: Call) -> int:
    async def change() -> Route:
        async with call.journal() as journal:
            current = {route.subsystem: route for route in await journal.routes()}
            name = call.args.subsystem
            if name not in current:
                known = ", ".join(current) or "none"
                raise CommandFailed(f"no subsystem {name!r}, there are: {known}")
            return await journal.set_route(name, call.args.runtime, current[name].fallback)

    route = asyncio.run(change())
    call.show(COLUMNS, [asdict(route)])
    _warn(call, route)
    return 0


def _warn(call: Call, route: Route) -> None:
    """Say so if the new owner cannot be reached now; it owns the subsystem all the same."""
    try:
        status = fetch(f"{call.run_file().url}/admin/status", call.settings.token)
    except (NotRunning, NotReached):
        return  # not ours to ask: the route is in Redis, whoever serves it
    served = served_by(status, route.owner)
    if served is not None and route.subsystem not in served:
        then = f"{route.fallback} answers" if route.fallback else "messages get errors"
        say_error(
            f"{route.owner} cannot be reached for {route.subsystem} now: {then} until it can"
        )
