"""`bridge routes` and `bridge route`: who owns what, and since when."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from urllib.parse import quote

from bridge.cli.command import (
    Call,
    CommandFailed,
    Commands,
    add_command,
    add_subsystem,
    add_who,
    say_error,
    who,
)
from bridge.cli.reload import ask
from bridge.client import ErrorReply, NotReached
from bridge.journal.values import Route
from bridge.message import JSON, RUNTIMES
from bridge.up.admin import fetch, loaded_by, put, served_by
from bridge.up.place import NotRunning

GATEWAY = "gateway"  # in a subsystem's place: the edge that clients connect to

COLUMNS = {
    "subsystem": "subsystem",
    "owner": "owner",
    "fallback": "fallback",
    "epoch": "epoch",
    "changed_ms": "since",
}
MOVING = {"phase": "phase", "candidate": "candidate", "share": "share %"}


def add(commands: Commands) -> None:
    parser = add_command(commands, "routes", "show who owns each subsystem", _routes)
    add_subsystem(parser)
    parser.add_argument(
        "--log", action="store_true", help="every route there ever was, oldest first"
    )
    parser = add_command(
        commands,
        "route",
        "make a runtime the owner of a subsystem at once, without evidence: `bridge move` "
        f"gathers it first; of `{GATEWAY}`: the edge that clients connect to",
        _route,
    )
    add_subsystem(parser, required=True)
    parser.add_argument("runtime", metavar="RUNTIME", choices=RUNTIMES, help=", ".join(RUNTIMES))
    parser.add_argument(
        "--share",
        type=int,
        choices=range(1, 101),
        default=100,
        metavar="PERCENT",
        help=f"of `{GATEWAY}`: the part of new connections that its edge takes; with 100, the "
        "default, the other edge also sends its clients on",
    )
    add_who(parser)


def _routes(call: Call) -> int:
    async def read() -> list[Route]:
        async with call.journal() as journal:
            names = await call.subsystems(journal)
            if call.args.log:
                return [route for name in names for route in await journal.route_log(name)]
            return [route for route in await journal.routes() if route.subsystem in names]

    rows = [asdict(route) for route in asyncio.run(read())]
    moving = any(row["candidate"] for row in rows)
    loaded = _loaded(call)
    absent = [row for row in rows if loaded is not None and row["subsystem"] not in loaded]
    for row in absent:
        row["contract"] = "not loaded"
    columns = {**COLUMNS, **(MOVING if moving else {})}
    call.show({**columns, "contract": "contract"} if absent else columns, rows)
    return 0


def _loaded(call: Call) -> set[str] | None:
    """Return what the bridge that runs here has loaded; None if none does, or it cannot tell."""
    try:
        return loaded_by(fetch(f"{call.run_file().url}/admin/status", call.settings.token))
    except (NotRunning, NotReached):
        return None


def _route(call: Call) -> int:
    name, runtime = call.args.subsystem, call.args.runtime
    if name == GATEWAY:
        return ask(call, GATEWAY, f"{runtime} {call.args.share}")
    try:
        url, token = call.run_file().url, call.settings.token
        order = {"owner": runtime, **who(call)}
        route = Route(**put(f"{url}/admin/routes/{quote(name)}", token, order))
    except (NotRunning, NotReached):
        # Nobody to ask whether that can be: the route is in Redis, whoever will serve it.
        call.show(COLUMNS, [asdict(asyncio.run(_change(call)))])
        return 0
    except ErrorReply as refused:
        raise CommandFailed(refused.response["message"].removeprefix("/owner: ")) from None
    call.show(COLUMNS, [asdict(route)])
    _warn(route, fetch(f"{url}/admin/status", token))
    return 0


async def _change(call: Call) -> Route:
    async with call.journal() as journal:
        (name,) = await call.subsystems(journal)
        current = {route.subsystem: route for route in await journal.routes()}
        fallback = current[name].fallback
        return await journal.set_route(name, call.args.runtime, fallback, **who(call))


def _warn(route: Route, status: JSON) -> None:
    """Say so if the new owner cannot be reached now; it owns the subsystem all the same."""
    served = served_by(status, route.owner)
    if served is not None and route.subsystem not in served:
        then = f"{route.fallback} answers" if route.fallback else "messages get errors"
        say_error(
            f"{route.owner} cannot be reached for {route.subsystem} now: {then} until it can"
        )
