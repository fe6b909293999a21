"""Attempts of claimed calls, in Redis. Each method is one script."""

from __future__ import annotations

from typing import Any

from bridge.journal.records import call_timer
from bridge.journal.redis_outbox import unavailable
from bridge.journal.values import AttemptState, OutboxEntry, Place
from bridge.redis.client import Client
from bridge.redis.connection import NotSent, Part, Rejected, Unanswered
from bridge.redis.keys import prefix_of


class RedisAttempts:
    """`RedisJournal.attempts`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def begin(
        self,
        entry: OutboxEntry,
        place: Place,
        lease_ms: int,
        max_attempts: int,
        stream: str = "",
        event: bytes = b"",
    ) -> AttemptState:
        answer = await self._run(entry, place, "begin", lease_ms, max_attempts, stream, event)
        status, *told = answer
        match status:
            case b"answered":
                return AttemptState("answered", told[0])
            case b"spent":
                return AttemptState("spent", error=told[0].decode())
        return AttemptState(status.decode())

    async def keep(self, entry: OutboxEntry, place: Place, lease_ms: int) -> AttemptState:
        status, *told = await self._run(entry, place, "keep", lease_ms)
        if status != b"kept":
            return AttemptState(status.decode())
        return AttemptState("kept", told[0], heard_ms=int(told[1]), silent_ms=int(told[2]))

    async def later(
        self,
        entry: OutboxEntry,
        place: Place,
        after_ms: int,
        error: str,
        answer: bytes = b"",
        *,
        uncounted: bool = False,
    ) -> bool:
        arguments = (after_ms, error, answer, int(uncounted))
        told = await self._run(entry, place, "later", *arguments)
        return bool(told[0] == b"later")

    async def done(self, entry: OutboxEntry, place: Place) -> bool:
        return bool((await self._run(entry, place, "done"))[0] == b"done")

    async def _run(self, entry: OutboxEntry, place: Place, *arguments: Part) -> list[Any]:
        try:
            return await self._client.run(
                "attempt",
                prefix_of(entry.subsystem),
                *(entry.lane, entry.token, call_timer(entry), *place),
                *arguments,
            )
        except (NotSent, Unanswered, Rejected) as error:
            raise unavailable(error) from None
