"""What is said of an outlet, again and again, while joelclaw's Redis is away."""

from __future__ import annotations

import asyncio

import uvloop

from bridge.joelclaw import SUBSYSTEM
from bridge.joelclaw.outlet.adapter import outlet_status
from bridge.joelclaw.outlet.outlet import Outlet
from bridge.joelclaw.push import Pusher
from bridge.journal.redis import RedisJournal
from bridge.redis.commands import connect
from bridge.telemetry import Telemetry
from tests.redis_server import RedisServer


def test_an_outage_is_one_warning_however_long_it_lasts() -> None:
    async def test() -> set[str]:
        with RedisServer() as joelclaw, RedisServer() as own:
            journal, theirs = RedisJournal(own.url), connect(joelclaw.url, "test")
            pusher = Pusher(theirs, Telemetry(), "joelclaw")
            outlet, deliveries = Outlet("session", "operator"), journal.deliveries(SUBSYSTEM)
            await asyncio.to_thread(joelclaw.kill9)
            warnings = {
                (await outlet_status(outlet, deliveries, pusher)).warning for _ in range(3)
            }
            await theirs.aclose()
            await journal.close()
            return warnings

    assert uvloop.run(test()) == {"joelclaw's Redis does not answer"}
