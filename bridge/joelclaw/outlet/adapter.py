"""The outlet as a part of the worker: who delivers, and what `status` says of it."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import asdict, dataclass

from bridge.errors import BridgeError
from bridge.joelclaw.outlet.deliverer import Deliverer
from bridge.joelclaw.outlet.outlet import LEASE_MS, MAX_ATTEMPTS, Outlet
from bridge.joelclaw.push import Away, Pusher, Refused
from bridge.joelclaw.sessions import SESSIONS
from bridge.journal.store import Deliveries
from bridge.journal.values import Waiting
from bridge.message import JSON
from bridge.pause import pause
from bridge.telemetry import Telemetry

LOOK_S = LEASE_MS / 3000


@dataclass(frozen=True, slots=True)
class OutletStatus:
    """What is not delivered, and whether anybody is there to deliver it to.

    `failing` tells of the first in line, "" while it did not fail; `warning` what to look at.
    """

    kind: str
    deliveries: int
    oldest_ms: int | None
    receiver: bool
    failing: str
    warning: str = ""


async def outlet_status(
    outlet: Outlet, deliveries: Deliveries, pusher: Pusher | None
) -> OutletStatus:
    """Look; nothing is changed. Raises BridgeError."""
    waiting = await deliveries.waiting(limit=1)
    receiver, warning = waiting.holder.startswith(f"{outlet.kind} "), ""
    if waiting.holder and not receiver:
        warning = f"the outlet is {outlet.kind}, but {waiting.holder} delivers"
    if outlet.kind == "session" and pusher is not None:
        receiver, warning = await _registered(outlet.session, pusher)
    return OutletStatus(
        kind=str(outlet),
        deliveries=waiting.total,
        oldest_ms=waiting.first[0].event.at_ms if waiting.first else None,
        receiver=receiver,
        failing=_failing(waiting),
        warning=warning,
    )


async def _registered(session: str, pusher: Pusher) -> tuple[bool, str]:
    try:
        if await pusher.is_member(session):
            return True, ""
    except Away:  # the error was told when the outage began
        return False, "joelclaw's Redis does not answer"
    except Refused as error:
        return False, str(error)
    return False, (
        f"session {session} is not in {SESSIONS}: what is pushed to its list "
        "waits there until somebody reads it"
    )


def _failing(waiting: Waiting) -> str:
    if not waiting.first or not waiting.first[0].error:
        return ""
    first = waiting.first[0]
    return f"{first.event.id}, attempt {first.attempts} of {MAX_ATTEMPTS}: {first.error}"


class OutletAdapter:
    """Delivers, unless the SDK does, and looks now and then at what is not delivered."""

    name = "outlet"

    def __init__(
        self,
        outlet: Outlet,
        deliveries: Deliveries,
        deliverer: Deliverer | None,
        pusher: Pusher | None,
        telemetry: Telemetry,
    ) -> None:
        self._outlet = outlet
        self._deliveries = deliveries
        self._deliverer = deliverer
        self._pusher = pusher
        self._telemetry = telemetry
        self._closing = asyncio.Event()
        self._seen = OutletStatus(str(outlet), 0, None, False, "", "not looked yet")

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            if self._deliverer is not None:
                tasks.create_task(self._deliverer.run())
            while not self._closing.is_set():
                with contextlib.suppress(BridgeError):  # what was seen last is shown
                    self._look(await outlet_status(self._outlet, self._deliveries, self._pusher))
                await pause(LOOK_S, self._closing)

    def close(self) -> None:
        self._closing.set()
        if self._deliverer is not None:
            self._deliverer.close()

    def status(self) -> dict[str, JSON]:
        return asdict(self._seen)

    def _look(self, seen: OutletStatus) -> None:
        if seen.warning and seen.warning != self._seen.warning:
            self._telemetry.emit("outlet_warning", text=seen.warning)
        self._seen = seen
