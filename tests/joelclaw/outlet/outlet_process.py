"""A worker's deliverer as a process of its own: NAME, the bridge's Redis, joelclaw's, SESSION."""

from __future__ import annotations

import asyncio
import sys

from bridge.joelclaw import SUBSYSTEM
from bridge.joelclaw.outlet.deliverer import Deliverer
from bridge.joelclaw.outlet.session import SessionReceiver
from bridge.joelclaw.push import Pusher
from bridge.joelclaw.quarantine import Quarantine
from bridge.journal.redis import RedisJournal
from bridge.redis.commands import connect
from bridge.telemetry import Telemetry


async def main(worker: str, own: str, joelclaw: str, session: str) -> None:
    telemetry = Telemetry()
    pusher = Pusher(connect(joelclaw, "bridge-push"), telemetry, "joelclaw")
    await Deliverer(
        f"session {worker}",
        RedisJournal(own).deliveries(SUBSYSTEM),
        SessionReceiver(pusher, session),
        Quarantine(connect(own, "bridge")).put,
        telemetry,
    ).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
