"""Where effects go, as all workers know it, in Redis."""

from __future__ import annotations

from typing import Any

from bridge.journal.redis_outbox import unavailable
from bridge.journal.values import TargetState
from bridge.journal.wire import read_target
from bridge.redis.client import Client
from bridge.redis.connection import NotSent, Part, Rejected, Unanswered
from bridge.redis.keys import target_of


class RedisTargets:
    """`RedisJournal.targets`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def state(self, kind: str) -> TargetState:
        return read_target(await self._run(kind, "look"))

    async def away(
        self, kind: str, error: str, pause_ms: int, longest_ms: int, retry_after_ms: int = 0
    ) -> TargetState:
        answer = await self._run(kind, "away", error, pause_ms, longest_ms, retry_after_ms)
        return read_target(answer)

    async def probe(self, kind: str) -> TargetState:
        return read_target(await self._run(kind, "probe"))

    async def back(self, kind: str) -> None:
        await self._run(kind, "back")

    async def _run(self, kind: str, *arguments: Part) -> list[Any]:
        try:
            return await self._client.run("target", target_of(kind), *arguments)
        except (NotSent, Unanswered, Rejected) as error:
            raise unavailable(error) from None
