"""Where decisions are delivered: the setting, and what a receiver does. No I/O here.

The line of what is to be delivered is the journal's (`bridge.journal.store.Deliveries`): in
commit order, one at a time, at least once. Whoever holds its lease delivers: a worker for
`session:<id>` and `topic` (`deliverer.py`), the SDK's `deliver` for `serve`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from bridge.joelclaw.sessions import OWNED, list_of, refused_session
from bridge.settings import BadSetting, Settings

if TYPE_CHECKING:
    from bridge.journal.values import Delivery

TOPIC = "outlet"  # with the key gateway, what clients join
MAX_ATTEMPTS = 8  # begun ones, after which a delivery goes to the quarantine
LEASE_MS = 6000


class NotNow(Exception):
    """Nobody is there to deliver to, or cannot be reached: no failure, it is kept."""


class DeliveryFailed(Exception):
    """The receiver had it and did not take it; the text is kept with the delivery."""


class Receiver(Protocol):
    """What one kind of outlet does with the first delivery in line."""

    @property
    def present(self) -> bool:
        """Whether there is somebody to deliver to; the lease is left to others while not."""
        ...

    async def change(self, present: bool) -> None:
        """Return when `present` is another than the caller knows."""
        ...

    async def deliver(self, delivery: Delivery) -> bool:
        """Return once the receiver has it: True if it is out of the line already.

        Raises NotNow or DeliveryFailed. May be cancelled: then the delivery comes again.
        """
        ...


@dataclass(frozen=True, slots=True)
class Outlet:
    """The setting, read. `session` is set for its kind alone."""

    kind: Literal["session", "serve", "topic"]
    session: str = ""

    def __str__(self) -> str:
        """Return the setting it was read from."""
        return f"{self.kind}:{self.session}" if self.session else self.kind


def outlet_of(settings: Settings) -> Outlet | None:
    """Read BRIDGE_OUTLET, None if it is empty; raises BadSetting."""
    kind, colon, session = settings.outlet.partition(":")
    match kind:
        case "":
            return None
        case "serve" | "topic" if not colon:
            return Outlet(kind)
        case "session":
            if why := refused_session(session):
                raise BadSetting(f"BRIDGE_OUTLET: {settings.outlet!r}: {why}")
            if session in OWNED:
                raise BadSetting(
                    f"BRIDGE_OUTLET: {settings.outlet!r}: the bridge itself takes what is in "
                    f"{list_of(session)}, expected another session"
                )
            if not settings.joelclaw_redis_url:
                raise BadSetting(
                    "BRIDGE_OUTLET: a session's list is on joelclaw's Redis: set "
                    "BRIDGE_JOELCLAW_REDIS_URL"
                )
            return Outlet("session", session)
    raise BadSetting(
        f"BRIDGE_OUTLET: expected session:<id>, serve or topic, got {settings.outlet!r}"
    )
