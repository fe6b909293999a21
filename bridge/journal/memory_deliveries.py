"""What an outlet has to deliver, in memory: what the scripts do, read as Python."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from bridge.journal import records
from bridge.journal.values import Delivery, Hold, Waiting


@dataclass(slots=True)
class _Lease:
    token: str
    until_ms: int


class MemoryDeliveries:
    """One subsystem's deliveries; `MemoryJournal.deliveries` makes it, once."""

    def __init__(
        self, subsystem: str, clock: Callable[[], int], new_position: Callable[[], str]
    ) -> None:
        self._subsystem = subsystem
        self._clock = clock
        self._new_position = new_position
        self._lease = _Lease("", 0)
        self._queue: list[Delivery] = []
        self._retry_ms = 0  # of the first in line
        self._added = asyncio.Event()

    async def hold(self, token: str, lease_ms: int) -> Hold:
        holder = self._holder()
        if holder not in ("", token):
            return Hold(holder)
        self._lease = _Lease(token, self._clock() + max(1, lease_ms))
        if not self._queue:
            return Hold(token)
        wait_ms = max(0, self._retry_ms - self._clock())
        return Hold(token, replace(self._queue[0], wait_ms=wait_ms))

    async def release(self, token: str) -> None:
        if self._holder() == token:
            self._lease = _Lease("", 0)

    async def begin(self, token: str, position: str) -> int:
        first = self._first(position)
        if self._holder() != token or first is None:
            return 0
        self._queue[0] = replace(first, attempts=first.attempts + 1)
        return first.attempts + 1

    async def done(self, token: str, position: str) -> bool:
        if self._holder() not in ("", token):
            return False
        kept = [d for d in self._queue if d.event.position != position]
        removed = len(kept) < len(self._queue)
        if removed and self._first(position):
            self._retry_ms = 0
        self._queue = kept
        return removed

    async def failed(self, token: str, position: str, error: str, retry_after_ms: int) -> bool:
        first = self._first(position)
        if self._holder() not in ("", token) or first is None or not first.attempts:
            return False
        self._queue[0] = replace(first, error=error)
        self._retry_ms = self._clock() + retry_after_ms
        return True

    async def give_back(self, token: str, position: str) -> bool:
        first = self._first(position)
        if self._holder() not in ("", token) or first is None or not first.attempts:
            return False
        self._queue[0] = replace(first, attempts=first.attempts - 1)
        return True

    async def put_back(self, text: bytes) -> None:
        self.append(text)

    async def arrived(self, wait_ms: int) -> bool:
        try:
            async with asyncio.timeout(wait_ms / 1000):
                while not self._queue:
                    self._added.clear()
                    await self._added.wait()
        except TimeoutError:
            return False
        return True

    async def waiting(self, limit: int = 100) -> Waiting:
        return Waiting(len(self._queue), self._holder(), self._queue[:limit])

    def append(self, text: bytes) -> None:
        """Add what a commit emitted, in the same step."""
        event = records.read_event(self._new_position(), self._subsystem, text)
        self._queue.append(Delivery(event, text))
        self._added.set()

    def _holder(self) -> str:
        return self._lease.token if self._lease.until_ms > self._clock() else ""

    def _first(self, position: str) -> Delivery | None:
        first = self._queue[0] if self._queue else None
        return first if first is not None and first.event.position == position else None
