"""What the settings want of joelclaw, held against the subsystems there are. No I/O here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.joelclaw.inngest.routes import Target, check_url, parse_routes
from bridge.joelclaw.outlet.outlet import Outlet, outlet_of
from bridge.joelclaw.terminal.topic import Topic, check_terminal
from bridge.redis.commands import connect
from bridge.settings import BadSetting

if TYPE_CHECKING:
    from bridge.contracts.registry import Registry
    from bridge.settings import Settings


@dataclass(frozen=True, slots=True)
class Wanted:
    """The settings, read. `targets` are by the names of Inngest's events."""

    targets: dict[str, Target]
    terminal: Topic | None
    outlet: Outlet | None


def check_joelclaw(settings: Settings, registry: Registry) -> Wanted:
    """Read the settings; raises BadSetting for what cannot work."""
    if settings.inngest_url:
        check_url(settings.inngest_url)
    if settings.joelclaw_redis_url:
        try:
            connect(settings.joelclaw_redis_url, "bridge")
        except ValueError as error:
            raise BadSetting(f"BRIDGE_JOELCLAW_REDIS_URL: {error}") from None
    return Wanted(
        parse_routes(settings.inngest_routes, registry),
        check_terminal(settings, registry),
        outlet_of(settings),
    )
