"""What could not be taken further, kept whole until somebody looks at it.

On the bridge's Redis: hash `joelclaw:bridge:quarantine`, id to record as JSON, and sorted set
`joelclaw:bridge:quarantine:times`, id by the time it came. No time to live.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis

from bridge.joelclaw.sessions import doorbell_of, list_of
from bridge.message import JSON

if TYPE_CHECKING:
    from bridge.journal.store import Deliveries

RECORDS = "joelclaw:bridge:quarantine"
TIMES = "joelclaw:bridge:quarantine:times"

DELIVERIES_SOURCE = "deliveries"

# Both keys in one step. KEYS: records, times. ARGV: id, record, at_ms.
PUT = """
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], 'NX', ARGV[3], ARGV[1])
"""
REMOVE = """
redis.call('ZREM', KEYS[2], ARGV[1])
return redis.call('HDEL', KEYS[1], ARGV[1])
"""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One item. `code`, `message` and `detail` are the error's (`bridge.errors`).

    `source` is `events:<session>` (a list of joelclaw's) or `deliveries` (the outlet's queue),
    `raw` what came, as text; bytes that are not UTF-8 are escaped as `\\udcXX`.
    """

    id: str
    at_ms: int
    source: str
    code: str
    message: str
    detail: dict[str, JSON]
    raw: str

    def as_bytes(self) -> bytes:
        return self.raw.encode(errors="surrogateescape")


Put = Callable[[Quarantined], Awaitable[None]]  # `Quarantine.put`, for who needs no more


def text_of(raw: bytes) -> str:
    """Return bytes as the text a record keeps them as."""
    return raw.decode(errors="surrogateescape")


class Quarantine:
    """Put twice under the same id, an item is there once. `redis` is the bridge's."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def put(self, item: Quarantined) -> None:
        await self._eval(PUT, item.id, _written(item), item.at_ms)

    async def list(self, limit: int = 100) -> list[Quarantined]:
        """Return the oldest items first."""
        ids: Any = await self._redis.zrange(TIMES, 0, limit - 1)
        if not ids:
            return []
        found: Any = await self._redis.hmget(RECORDS, ids)
        return [_read(record) for record in found if record is not None]

    async def get(self, id: str) -> Quarantined | None:
        record: Any = await self._redis.hget(RECORDS, id)
        return None if record is None else _read(record)

    async def count(self) -> int:
        return int(await self._redis.zcard(TIMES))

    async def remove(self, id: str) -> bool:
        return bool(await self._eval(REMOVE, id))

    async def redrive_event(self, item: Quarantined, joelclaw: Redis) -> None:
        """Make an event the next to be taken from the list it was in, then remove it here."""
        session = item.source.removeprefix("events:")
        await joelclaw.rpush(list_of(session), item.as_bytes())
        doorbell = json.dumps({"eventId": item.id, "type": "bridge.redriven"})
        await joelclaw.publish(doorbell_of(session), doorbell)
        await self.remove(item.id)

    async def redrive_delivery(self, item: Quarantined, deliveries: Deliveries) -> None:
        """Make a delivery the last in line, then remove it here."""
        await deliveries.put_back(item.as_bytes())
        await self.remove(item.id)

    async def _eval(self, script: str, *arguments: str | bytes | int) -> Any:
        return await self._redis.eval(script, 2, RECORDS, TIMES, *arguments)


def _written(item: Quarantined) -> str:
    # Not orjson: ASCII escapes hold the lone surrogates that stand for bytes.
    return json.dumps(asdict(item), separators=(",", ":"))


def _read(record: bytes) -> Quarantined:
    return Quarantined(**json.loads(record))
