"""What an outlet has to deliver, in Redis: the scripts are also those of the TypeScript SDK."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bridge.errors import BridgeError
from bridge.journal import records
from bridge.journal.values import Delivery, Hold, Waiting
from bridge.journal.wire import groups
from bridge.redis.client import Client
from bridge.redis.connection import NotSent, Part, Rejected, Unanswered


class RedisDeliveries:
    """One subsystem's deliveries; `RedisJournal.deliveries` makes it."""

    def __init__(
        self,
        client: Client,
        prefix: str,
        subsystem: str,
        unavailable: Callable[[Exception], BridgeError],
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._subsystem = subsystem
        self._unavailable = unavailable

    async def hold(self, token: str, lease_ms: int) -> Hold:
        holder, *first = await self._run("hold", token, max(1, lease_ms))
        return Hold(holder.decode(), self._read(*first) if first else None)

    async def release(self, token: str) -> None:
        await self._run("hold", token, 0)

    async def begin(self, token: str, position: str) -> int:
        return await self._settle(token, position, "begin")

    async def done(self, token: str, position: str) -> bool:
        return bool(await self._settle(token, position, "done"))

    async def failed(self, token: str, position: str, error: str, retry_after_ms: int) -> bool:
        return bool(await self._settle(token, position, "failed", error, retry_after_ms))

    async def give_back(self, token: str, position: str) -> bool:
        return bool(await self._settle(token, position, "given_back"))

    async def put_back(self, text: bytes) -> None:
        await self._run("call", "XADD", self._stream, "*", "event", text)

    async def arrived(self, wait_ms: int) -> bool:
        wait_ms = max(1, wait_ms)
        try:
            return await self._client.has_some(self._prefix, self._stream, wait_ms)
        except (NotSent, Unanswered, Rejected) as error:
            raise self._unavailable(error) from None

    async def waiting(self, limit: int = 100) -> Waiting:
        total, holder, *found = await self._run("deliveries", limit)
        first = [self._read(*delivery) for delivery in groups(found, 4)]
        return Waiting(int(total), holder.decode(), first)

    @property
    def _stream(self) -> str:
        return f"{self._prefix}deliveries"

    async def _settle(self, token: str, position: str, what: str, *more: Part) -> int:
        return int((await self._run("settle", token, position, what, *more))[0])

    async def _run(self, script: str, *arguments: Part) -> list[Any]:
        try:
            return await self._client.run(script, self._prefix, *arguments)
        except (NotSent, Unanswered, Rejected) as error:
            raise self._unavailable(error) from None

    def _read(
        self, position: bytes, text: bytes, attempts: Any, error: Any, wait_ms: Any = 0
    ) -> Delivery:
        event = records.read_event(position.decode(), self._subsystem, text)
        return Delivery(event, text, int(attempts), error.decode(), int(wait_ms))
