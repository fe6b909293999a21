"""Moves and their evidence in Redis."""

from __future__ import annotations

from typing import Any

import orjson

from bridge.canonical import canonical
from bridge.errors import BridgeError
from bridge.journal import records
from bridge.journal.redis_outbox import unavailable
from bridge.journal.redis_storage import RedisStorage
from bridge.journal.values import Noted, Route, Standing
from bridge.journal.wire import read_route
from bridge.message import JSON
from bridge.redis.client import Client
from bridge.redis.connection import NotSent, Part, Rejected, Unanswered
from bridge.redis.keys import prefix_of

PAGE = 1000


class RedisMoves:
    """`RedisJournal.moves`."""

    def __init__(self, client: Client, storage: RedisStorage) -> None:
        self._client = client
        self._storage = storage

    async def standing(self, subsystem: str) -> Standing:
        # The route first: a record that is read with it is of it, or a change fails.
        now_ms, fields = await self._run(subsystem, "read")
        route = read_route(subsystem, fields)
        if route is None:
            raise BridgeError("unknown_topic", f"no subsystem {subsystem!r}", actual=subsystem)
        record = await self._call(subsystem, "HGET", f"{prefix_of(subsystem)}move", "record")
        return Standing(route, orjson.loads(record) if record else None, now_ms)

    async def change(
        self, route: Route, move: dict[str, JSON], entry: dict[str, JSON], *, fresh: bool = False
    ) -> bool:
        answer = await self._run(
            route.subsystem,
            "move",
            route.epoch - 1,
            self._storage.id,
            route.owner,
            route.phase,
            route.candidate or "",
            route.share,
            move["id"],
            canonical(move),
            canonical(entry),
            int(fresh),
        )
        return bool(answer[0])

    async def history(self, subsystem: str) -> list[dict[str, JSON]]:
        log = await self._call(subsystem, "LRANGE", f"{prefix_of(subsystem)}move:log", 0, -1)
        return [records.history_entry(line) for line in log]

    async def note(self, subsystem: str, epoch: int, noted: Noted) -> bool:
        answer = await self._run(
            subsystem,
            "evidence",
            *(epoch, noted.build, int(noted.lost), len(noted.counts)),
            *(part for counter in noted.counts.items() for part in counter),
            len(noted.samples),
            *(part for sample in noted.samples.items() for part in sample),
            *noted.traces,
        )
        return bool(answer[0])

    async def evidence(self, subsystem: str) -> dict[str, str]:
        found = await self._call(subsystem, "HGETALL", f"{prefix_of(subsystem)}move:evidence")
        texts = [part.decode() for part in found]
        return dict(zip(texts[::2], texts[1::2], strict=True))

    async def trace(self, subsystem: str, message_id: str) -> dict[str, JSON] | None:
        found = await self._call(
            subsystem,
            *("XREVRANGE", f"{prefix_of(subsystem)}move:traces", "+", "-", "COUNT", 2 * PAGE),
        )
        for _, (_, text) in found:
            trace: dict[str, JSON] = orjson.loads(text)
            if trace["id"] == message_id:
                return trace
        return None

    async def accept(self, subsystem: str, id: str, accepted: dict[str, JSON] | None) -> bool:
        text = canonical(accepted) if accepted is not None else b""
        return bool((await self._run(subsystem, "accept", id, text))[0])

    async def accepted(self, subsystem: str) -> list[dict[str, JSON]]:
        found = await self._call(subsystem, "HGETALL", f"{prefix_of(subsystem)}move:accepted")
        return [orjson.loads(text) for text in found[1::2]]

    async def _run(self, subsystem: str, script: str, *arguments: Part) -> list[Any]:
        try:
            return await self._client.run(script, prefix_of(subsystem), *arguments)
        except (NotSent, Unanswered, Rejected) as error:
            raise unavailable(error) from None

    async def _call(self, subsystem: str, *command: Part) -> Any:
        try:
            return await self._client.call(prefix_of(subsystem), *command)
        except (NotSent, Unanswered, Rejected) as error:
            raise unavailable(error) from None
