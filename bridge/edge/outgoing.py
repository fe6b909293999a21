"""What goes to a node over its link, in order and bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from bridge.link.errors import LinkError
from bridge.link.link import Link
from bridge.turns import Turns

WAITING_EVENTS = 10_000
TURN_EVENTS = 32
UNSENT_BYTES = 1_048_576  # on the link, before events wait here


class Outgoing:
    """What goes to the node in order, a bounded number in a turn, while it reads.

    A node that leaves too much unread loses its link, and its topics go on at another worker.
    """

    def __init__(self, link: Link, turns: Turns) -> None:
        self._link = link
        self._turns = turns
        self._messages: deque[list[Any]] = deque()
        self._sending = False
        self._waiting: list[asyncio.Future[None]] = []

    def put(self, message: list[Any]) -> None:
        if len(self._messages) >= WAITING_EVENTS:
            self._link.close("the node does not take its events")
        if not self._link.alive:
            return
        self._messages.append(message)
        if not self._sending:
            self._sending = True
            self._turns.add(self._send)

    def half_empty(self) -> bool:
        return len(self._messages) <= WAITING_EVENTS // 2

    async def room(self) -> None:
        while self._link.alive and not self.half_empty():
            await self._next()

    async def emptied(self) -> None:
        """Wait until everything has left that was put before."""
        while self._link.alive and self._messages:
            await self._next()

    def close(self) -> None:
        """Drop what waits; who waits for it goes on."""
        self._messages.clear()
        self._wake()

    def _wake(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        self._waiting.clear()

    async def _next(self) -> None:
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        await waiting

    def _send(self) -> bool:
        try:
            for _ in range(min(TURN_EVENTS, len(self._messages))):
                if self._link.queued_bytes > UNSENT_BYTES:
                    asyncio.get_running_loop().create_task(self._when_read())
                    return False
                self._link.cast(self._messages.popleft())
        except LinkError as error:
            self._messages.clear()
            self._link.close(f"the node does not take its events: {error}")
        self._wake()
        self._sending = bool(self._messages)
        return self._sending

    async def _when_read(self) -> None:
        await self._link.drain()
        self._turns.add(self._send)
