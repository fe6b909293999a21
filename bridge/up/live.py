"""The live states behind an address of Redis, held against all contracts before these serve."""

from __future__ import annotations

from bridge.contracts.registry import Registry
from bridge.journal.redis import RedisJournal
from bridge.live import Live, look

MOST_KEYS = 10_000  # of a subsystem; `bridge contracts check --live` looks at all


async def look_at(url: str, registry: Registry) -> list[Live]:
    """Return how the subsystems stand that have live keys. Raises BridgeError."""
    journal = RedisJournal(url)
    try:
        there = {route.subsystem for route in await journal.routes()}
        names = [name for name in registry.names() if name in there]
        found = [await look(journal, registry.get(name), MOST_KEYS) for name in names]
        return [live for live in found if live.total or live.timers]
    finally:
        await journal.close()
