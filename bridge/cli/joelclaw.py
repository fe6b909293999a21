"""`bridge joelclaw take|release|status`: who takes the events of joelclaw's gateway."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError

from bridge.cli.command import (
    Call,
    CommandFailed,
    Commands,
    UsageError,
    add_address,
    add_command,
    add_group,
    say_error,
    when,
)
from bridge.joelclaw.intake.takeover import (
    IntakeStatus,
    Released,
    TakenAgain,
    held,
    intake_status,
    release,
    take,
)
from bridge.joelclaw.server import connect
from bridge.journal.connection import Address
from bridge.message import JSON
from bridge.up.admin import fetch
from bridge.up.place import NotRunning

T = TypeVar("T")

HOLDER_S = 15.0
COLUMNS = {"what": "what", "found": "found"}

HOW_TO_END = """\
End it so that it deletes nothing. On SIGTERM the daemon deletes its list, with all that waits in
it, and so does `joelclaw gateway restart`:
  by hand         kill -KILL PID
  under launchd   kill -STOP PID, then launchctl bootout gui/$UID/LABEL: stopped, it cannot act
                  on the SIGTERM, and launchd kills it some seconds later
What comes meanwhile waits in the list."""


@dataclass(frozen=True, slots=True)
class Outlet:
    """What the running bridge says of its outlet."""

    kind: str
    receiver: bool
    deliveries: int

    def __str__(self) -> str:
        there = "" if self.receiver else ", nobody receives there now"
        return f"{self.kind}{there}, {self.deliveries} not delivered"


def add(commands: Commands) -> None:
    group = add_group(
        commands,
        "joelclaw",
        "take the intake of joelclaw's gateway over, and give it back; alone: status",
        _status,
        url=None,
        token=None,
    )
    parser = add_command(
        group, "take", "let the bridge take the events of joelclaw's gateway", _take, json=False
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--anyway",
        action="store_true",
        help="also if nobody receives at the outlet, or somebody else listens for the events",
    )
    add_address(parser)
    add_command(
        group, "release", "stop taking, and put back what is in flight", _release, json=False
    )
    add_address(
        add_command(group, "status", "show where joelclaw's events stand, and who takes", _status)
    )


def _status(call: Call) -> int:
    status = asyncio.run(_with_redis(call, intake_status))
    rows = [{"what": what, "found": found} for what, found in described(status)]
    if call.args.json:
        call.show(COLUMNS, [asdict(status)])
    else:
        call.show(COLUMNS, rows)
        if warning := second_consumer(status):
            say_error(warning)
    return 0


def described(status: IntakeStatus) -> list[tuple[str, str]]:
    """Return what is to be said of an intake, line by line."""
    since = f" since {when(status.since_ms)}" if status.since_ms else ""
    who = {
        "free": "joelclaw's own daemon takes the events",
        "taken": f"the bridge takes the events{since}",
        "releasing": "being given back",
    }
    holder = status.holder or ("none: is the bridge running?" if status.state == "taken" else "-")
    return [
        ("intake", who.get(status.state, status.state)),
        ("holder", holder),
        ("in flight", str(status.in_flight)),
        ("waiting", f"{status.waiting} for gateway, {status.waiting_main} for main"),
        ("listeners", ", ".join(status.others) or "none but the bridge"),
    ]


def second_consumer(status: IntakeStatus) -> str:
    """Return the warning of a second consumer, empty if there is none to warn of."""
    if status.state != "taken" or not status.others:
        return ""
    return (
        f"somebody else listens for the gateway's events ({', '.join(status.others)}): a second "
        "daemon or pi session takes some of them and deletes others; `joelclaw gateway stream` "
        "only looks"
    )


def _take(call: Call) -> int:
    try:
        status = fetch(f"{call.url}/admin/status", call.token)
    except NotRunning as error:
        raise CommandFailed(f"the bridge takes nothing while it does not run: {error}") from None
    outlet = _outlet(status)
    return asyncio.run(_with_redis(call, lambda redis: _take_over(call, redis, outlet)))


async def _take_over(call: Call, redis: Redis, outlet: Outlet) -> int:
    status = await intake_status(redis)
    if status.state == "taken":
        print("the bridge takes them already")
        return 0
    print(f"waiting    {status.waiting} events for gateway, {status.waiting_main} for main")
    print(f"outlet     {outlet}")
    print(f"listeners  {', '.join(status.others) or 'none'}")
    if not call.args.anyway:
        if status.others:
            print(HOW_TO_END)
            raise CommandFailed(
                "somebody else listens for the gateway's events: end it as above and ask again, "
                "or, if it only looks, add --anyway"
            )
        if not outlet.receiver:
            raise CommandFailed(
                f"nobody receives at {outlet.kind}: start it and ask again, or let what is "
                "decided wait there with --anyway"
            )
    print(
        "The bridge will register as session `gateway`, move each event of "
        "joelclaw:events:gateway and\n:main into `triage`, the oldest first, and deliver what "
        f"comes of it to {outlet.kind}.\nNothing is deleted before it is committed. "
        "`bridge joelclaw release` gives it all back."
    )
    if not call.args.yes and not _agreed():
        print("nothing was changed")
        return 1
    await take(redis)
    holder = await _holder(redis)
    if holder is None:
        raise CommandFailed(
            f"no worker took it within {HOLDER_S:g} s: see the log files, or give it back with "
            "`bridge joelclaw release`"
        )
    print(f"taken: worker {holder} takes the events")
    return 0


def _outlet(status: JSON) -> Outlet:
    told = status.get("joelclaw", {}).get("outlet")
    if not told or not told.get("kind"):
        raise CommandFailed(
            "no outlet: what `triage` decides would reach nobody. Set BRIDGE_OUTLET to "
            "`session:<id>`, `serve` or `topic`, and start the bridge again"
        )
    return Outlet(told["kind"], bool(told["receiver"]), int(told["deliveries"]))


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to say yes: ask with --yes")
    return input("go on? [y/N] ").strip().lower() in ("y", "yes")


async def _holder(redis: Redis) -> str | None:
    try:
        async with asyncio.timeout(HOLDER_S):
            async for holder in held(redis):
                if holder is not None:
                    return holder
    except TimeoutError:
        pass
    return None


def _release(call: Call) -> int:
    asyncio.run(_with_redis(call, lambda redis: _give_back(call, redis)))
    return 0


async def _give_back(call: Call, redis: Redis) -> None:
    before = await intake_status(redis)
    try:
        released = await _released(call, redis)
    except TakenAgain as error:
        raise CommandFailed(str(error)) from None
    if released.unchecked:
        say_error(
            "the bridge's own Redis does not answer: some of what went back may have been handled"
        )
    after = await intake_status(redis)
    print("nothing was taken" if before.state == "free" else "released: nothing is in flight")
    print(
        f"{after.waiting} events wait in joelclaw:events:gateway, {after.waiting_main} in "
        "joelclaw:events:main, for joelclaw's daemon"
    )


async def _released(call: Call, redis: Redis) -> Released:
    try:
        async with call.journal() as journal:
            return await release(redis, journal)
    except NotRunning:
        return await release(redis, None)


async def _with_redis(call: Call, work: Callable[[Redis], Awaitable[T]]) -> T:
    async with joelclaw_redis(call) as redis:
        try:
            return await work(redis)
        except (RedisError, OSError) as error:
            where = Address.parse(_url(call))
            raise CommandFailed(f"joelclaw's Redis at {where}: {error}") from None


@asynccontextmanager
async def joelclaw_redis(call: Call) -> AsyncIterator[Redis]:
    """Open joelclaw's Redis: BRIDGE_JOELCLAW_REDIS_URL, else that of the bridge running here."""
    redis = connect(_url(call), "bridge-cli")
    try:
        yield redis
    finally:
        await redis.aclose()


def _url(call: Call) -> str:
    url = call.settings.joelclaw_redis_url
    if not url:
        try:
            url = call.run_file().joelclaw_redis_url
        except NotRunning:
            url = ""
    if not url:
        raise UsageError(
            "BRIDGE_JOELCLAW_REDIS_URL is not set: it names joelclaw's own Redis, such as "
            "redis://127.0.0.1:6379"
        )
    return url
