"""joelclaw's burst: many writers that push at once, and how many of their events are handled.

The order of writing is joelclaw's own: SMEMBERS, then for each session LPUSH and PUBLISH, as
separate commands. The classic reader works as its daemon does: at a doorbell LRANGE, handle each,
DEL; a doorbell that rings meanwhile is not remembered.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson
from redis.asyncio import Redis

from bridge.joelclaw.intake.in_flight import DOORBELLS, LIST
from bridge.joelclaw.sessions import SESSION, SESSIONS, doorbell_of, list_of
from bridge.redis.commands import Failures, connect

RETRY_S = 0.05


@dataclass(frozen=True, slots=True)
class Burst:
    """`rounds` times, `writers` push one event each, up to `jitter_s` apart."""

    rounds: int = 100
    writers: int = 10
    jitter_s: float = 0.02

    @property
    def events(self) -> int:
        return self.rounds * self.writers

    async def write(self, url: str, *, type: str = "burst.event") -> list[str]:
        """Push all events and return their ids; a writer whose Redis is away tries again."""
        numbers = itertools.count()
        clients = [connect(url, "writer") for _ in range(self.writers)]
        ids: list[str] = []

        async def one(client: Redis) -> None:
            await asyncio.sleep(random.uniform(0, self.jitter_s))
            ids.append(await push(client, f"burst-{next(numbers)}", type))

        try:
            for _ in range(self.rounds):
                await asyncio.gather(*map(one, clients))
        finally:
            for client in clients:
                await client.aclose()
        return ids


async def push(client: Redis, id: str, type: str = "burst.event") -> str:
    """Push one event as joelclaw's services do."""
    event = {"id": id, "type": type, "source": "bench", "payload": {}, "ts": 1795380404972}
    raw = orjson.dumps(event)
    while True:
        try:
            registered: Any = await client.smembers(SESSIONS)
            session = SESSION if SESSION.encode() in registered else "main"
            await client.lpush(list_of(session), raw)
            break
        except Failures:
            await asyncio.sleep(RETRY_S)
    with suppress(*Failures):  # joelclaw's writers lose a doorbell as well
        doorbell = orjson.dumps({"eventId": id, "type": type})
        await client.publish(doorbell_of(session), doorbell)
    return id


class ClassicReader:
    """Reads as joelclaw's daemon of February does; `handle` is called with each event's id."""

    def __init__(self, url: str, handle: Callable[[str], Awaitable[None]]) -> None:
        self._commands = connect(url, "classic")
        self._doorbells = connect(url, "classic-doorbells", answer_s=None)
        self._handle = handle
        self._draining = False
        self._seen: set[str] = set()

    async def run(self) -> None:
        """Register, listen and drain until cancelled."""
        await self._commands.sadd(SESSIONS, SESSION)
        drains: set[asyncio.Task[None]] = set()
        async with self._doorbells.pubsub(ignore_subscribe_messages=True) as pubsub:
            await pubsub.subscribe(*DOORBELLS)
            async for _ in pubsub.listen():
                task = asyncio.create_task(self._drain())
                drains.add(task)
                task.add_done_callback(drains.discard)

    async def _drain(self) -> None:
        if self._draining:
            return
        self._draining = True
        try:
            items: Any = await self._commands.lrange(LIST, 0, -1)
            for item in reversed(items):
                id = orjson.loads(item)["id"]
                if id not in self._seen:
                    self._seen.add(id)
                    await self._handle(id)
            if items:
                await self._commands.delete(LIST)
        finally:
            self._draining = False

    async def close(self) -> None:
        await self._commands.aclose()
        await self._doorbells.aclose()
