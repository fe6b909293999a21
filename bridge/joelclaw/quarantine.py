"""What could not be taken further, kept whole until somebody looks at it.

On the bridge's Redis: hash `joelclaw:bridge:quarantine`, id to record as JSON, and sorted set
`joelclaw:bridge:quarantine:times`, id by the time it came. No time to live.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from redis.asyncio import Redis

from bridge.message import JSON

RECORDS = "joelclaw:bridge:quarantine"
TIMES = "joelclaw:bridge:quarantine:times"

DELIVERIES = "joelclaw:bridge:{triage}:deliveries"
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

    async def redrive(self, item: Quarantined, joelclaw: Redis | None) -> None:
        """Put an item back to where it came from, then remove it here.

        An event is the next to be taken, a delivery the last to be delivered. `joelclaw` is
        needed for what came from a list of joelclaw's.
        """
        raw = item.as_bytes()
        if item.source == DELIVERIES_SOURCE:
            await self._redis.xadd(DELIVERIES, {"event": raw})
        else:
            assert joelclaw is not None
            await joelclaw.rpush(f"joelclaw:{item.source}", raw)
            doorbell = json.dumps({"eventId": item.id, "type": "bridge.redriven"})
            await joelclaw.publish(item.source.replace("events:", "joelclaw:notify:"), doorbell)
        await self.remove(item.id)

    async def _eval(self, script: str, *arguments: str | bytes | int) -> Any:
        return await self._redis.eval(script, 2, RECORDS, TIMES, *arguments)


def _written(item: Quarantined) -> str:
    # Not orjson: ASCII escapes hold the lone surrogates that stand for bytes.
    return json.dumps(asdict(item), separators=(",", ":"))


def _read(record: bytes) -> Quarantined:
    return Quarantined(**json.loads(record))
