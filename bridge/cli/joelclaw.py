"""`bridge joelclaw take|release|status`: who takes the events of joelclaw's gateway."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import TypeVar

from redis.asyncio import Redis

from bridge.cli.command import (
    Call,
    CommandFailed,
    Commands,
    UsageError,
    add_address,
    add_command,
    add_group,
    say_error,
)
from bridge.cli.findings import COLUMNS, of_intake, of_outlet, outlet_in
from bridge.client import ErrorReply, NotReached, connected
from bridge.errors import BridgeError
from bridge.joelclaw import SUBSYSTEM
from bridge.joelclaw.intake.takeover import (
    IntakeStatus,
    Released,
    TakenAgain,
    intake_status,
    release,
    take,
    until_held,
)
from bridge.joelclaw.outlet.adapter import OutletStatus
from bridge.joelclaw.sessions import SESSION
from bridge.redis.address import Address
from bridge.redis.commands import Failures, connect
from bridge.up.admin import fetch
from bridge.up.place import NotRunning

T = TypeVar("T")

HOLDER_S = 15.0
TRIAGE = f"{SUBSYSTEM}:{SESSION}"

HOW_TO_END = """\
End it so that it deletes nothing. On SIGTERM the daemon deletes its list, with all that waits in
it, and so does `joelclaw gateway restart`:
  by hand         kill -KILL $(cat /tmp/joelclaw/gateway.pid)
  under launchd   kill -STOP $(cat /tmp/joelclaw/gateway.pid), then
                  launchctl bootout gui/$UID/com.joel.gateway: stopped, it cannot act on the
                  SIGTERM, and launchd kills it some seconds later
  as a daemon of  the same as root: sudo kill -STOP $(cat /tmp/joelclaw/gateway.pid), then
  the system      sudo launchctl bootout system/com.joel.gateway
`launchctl print gui/$UID/com.joel.gateway` and `launchctl print system/com.joel.gateway` tell
which it is. With KeepAlive launchd starts again what is only killed. What comes meanwhile waits
in the list."""

# What the daemon of February did beside handing events to its agent.
NOBODY_WILL = """What the daemon did, and nobody will do from then on:
  escalations     it told Telegram at once what is fatal or asks for it. They come as
                  `triage.escalation`, Telegram's texts, buttons and flags with the event
  answers         it sent what its agent answered to the channel an event came from: the
                  receiver has `origin_session`
  the prompt      it added notes of the vault and what is recalled of earlier talks
  its other lists joelclaw:outbound:messages and joelclaw:media:outbound are not read"""
TERMINAL = """  the terminal    on port 3018: BRIDGE_TERMINAL_PORT gives `joelclaw tui` one"""

RECEIVERS = {
    "session": "a member of joelclaw:gateway:sessions called {session}; its reader enters itself",
    "serve": "a process that runs `deliver` of the SDK on the bridge's Redis",
    "topic": "a WebSocket client that has joined outlet:gateway",
}


def add(commands: Commands) -> None:
    group = add_group(
        commands,
        "joelclaw",
        "take the intake of joelclaw's gateway over, and give it back; alone: status",
        _status,
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
    add_command(group, "status", "show where joelclaw's events stand, and who takes", _status)


def _status(call: Call) -> int:
    status = asyncio.run(_with_redis(call, intake_status))
    findings = of_intake(status)
    call.show(COLUMNS, [asdict(status)] if call.args.json else [asdict(f) for f in findings])
    for finding in findings:
        if finding.warning:
            say_error(f"{finding.what}: {finding.warning}")
    return 0


def _take(call: Call) -> int:
    try:
        status = fetch(f"{call.url}/admin/status", call.token)
    except NotRunning as error:
        raise CommandFailed(f"the bridge takes nothing while it does not run: {error}") from None
    outlet = outlet_in(status)
    if outlet is None:
        raise CommandFailed(
            "no outlet: what `triage` decides would reach nobody. Set BRIDGE_OUTLET to "
            "`session:<id>`, `serve` or `topic`, and start the bridge again"
        )
    return asyncio.run(_with_redis(call, lambda redis: _take_over(call, redis, outlet)))


async def _take_over(call: Call, redis: Redis, outlet: OutletStatus) -> int:
    status = await intake_status(redis)
    if status.state == "taken":
        print("the bridge takes them already")
        return 0
    print(f"waiting    {status.waiting} events for gateway, {status.waiting_main} for main")
    print(f"outlet     {of_outlet(outlet).found}")
    print(f"listeners  {', '.join(status.others) or 'none'}")
    if not call.args.anyway:
        _require_ready(status, outlet)
    print("\n".join([NOBODY_WILL] + [TERMINAL] * (call.settings.terminal_port == 0)))
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
    try:
        async with asyncio.timeout(HOLDER_S):
            holder = await until_held(redis)
    except TimeoutError:
        raise CommandFailed(
            f"no worker took it within {HOLDER_S:g} s: see the log files, or give it back with "
            "`bridge joelclaw release`"
        ) from None
    print(f"taken: worker {holder} takes the events")
    return 0


def _require_ready(status: IntakeStatus, outlet: OutletStatus) -> None:
    if status.others:
        print(HOW_TO_END)
        raise CommandFailed(
            "somebody else listens for the gateway's events: end it as above and ask again, "
            "or, if it only looks, add --anyway"
        )
    if not outlet.receiver:
        kind, _, session = outlet.kind.partition(":")
        counts = RECEIVERS[kind].format(session=session)
        raise CommandFailed(
            f"nobody receives at {outlet.kind}. What counts is {counts}. Start it and ask again, "
            "or let what is decided wait there with --anyway"
        )


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to say yes: ask with --yes")
    return input("go on? [y/N] ").strip().lower() in ("y", "yes")


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
    await _send_out(call)


async def _send_out(call: Call) -> None:
    """Have `triage` send out its batch, and say what stays with the bridge."""
    try:
        async with connected(call.run_file().url, call.settings.token) as client:
            await client.join(TRIAGE)
            batched = (await client.push(TRIAGE, "flush", {}))["count"]
        async with call.journal() as journal:
            undelivered = (await journal.deliveries(SUBSYSTEM).waiting(limit=0)).total
    except (BridgeError, ErrorReply, NotReached, NotRunning) as error:
        say_error(f"what `triage` has batched, and what is not delivered, stays there: {error}")
        return
    if batched:
        print(f"{batched} batched events went out as a digest")
    if undelivered:
        print(
            f"{undelivered} decisions wait for their receiver: leave the bridge running until "
            "`bridge deliveries` shows none"
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
        except Failures as error:
            where = Address.parse(_url(call))
            raise CommandFailed(f"joelclaw's Redis at {where}: {error}") from None


@asynccontextmanager
async def joelclaw_redis(call: Call) -> AsyncIterator[Redis]:
    """Open joelclaw's Redis: BRIDGE_JOELCLAW_REDIS_URL, else that of the bridge running here."""
    try:
        redis = connect(_url(call), "bridge-cli")
    except ValueError as error:
        raise UsageError(f"BRIDGE_JOELCLAW_REDIS_URL: {error}") from None
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
