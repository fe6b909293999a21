"""What each worker says of itself, in Redis under a lease."""

from __future__ import annotations

from typing import Any

from bridge.journal.redis_outbox import unavailable
from bridge.redis.client import Client
from bridge.redis.connection import NotSent, Part, Rejected, Unanswered
from bridge.redis.keys import WORKERS


class RedisWorkers:
    """`RedisJournal.workers`: every method may raise BridgeError `storage_unavailable`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def tell(self, name: str, lease_ms: int, figures: bytes) -> bool:
        """Keep a worker's figures for the lease; none: those before, False if they are gone."""
        return bool((await self._run("tell", name, lease_ms, figures))[0])

    async def leave(self, name: str) -> None:
        await self._run("leave", name)

    async def told(self) -> dict[str, bytes]:
        """Return what each worker told whose lease has not ended."""
        answer = await self._run("told")
        return {name.decode(): text for name, text in zip(answer[::2], answer[1::2], strict=True)}

    async def _run(self, *arguments: Part) -> list[Any]:
        try:
            return await self._client.run("workers", WORKERS, *arguments)
        except (NotSent, Unanswered, Rejected) as error:
            raise unavailable(error) from None
