"""Deadlines that call nobody late for what this process itself was late to read.

A loop that was held up, by a long computation or a stopped process, finds timers due and bytes
unread at once, and uvloop runs the timers first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

# What has arrived is read within one poll; a peer that was stopped with us needs a moment more.
LEAST_S = 0.01
MOST_S = 0.5


class Due:
    """Call back at a time of the loop's, but not before what had arrived by then was read."""

    __slots__ = ("_at", "_callback", "_handle", "_loop")

    def __init__(self, at: float, callback: Callable[[], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._at = max(at, self._loop.time())  # what was over before is nobody's lateness
        self._callback = callback
        self._handle = self._loop.call_at(at, self._look)

    def cancel(self) -> None:
        self._handle.cancel()

    def _look(self) -> None:
        late_s = self._loop.time() - self._at
        more_s = max(LEAST_S, min(late_s, MOST_S))
        self._handle = self._loop.call_later(more_s, self._callback)


def due_in(seconds: float, callback: Callable[[], object]) -> Due:
    return Due(asyncio.get_running_loop().time() + seconds, callback)


async def sleep(seconds: float) -> None:
    """Wait so long, and until what arrived meanwhile was read."""
    over = asyncio.Event()
    due = due_in(seconds, over.set)
    try:
        await over.wait()
    finally:
        due.cancel()


class Timeout:
    """Cut a block short, by TimeoutError, as `asyncio.timeout_at` does. None: never."""

    __slots__ = ("_at", "_due", "_timeout")

    def __init__(self, at: float | None) -> None:
        self._at = at
        self._due: Due | None = None
        self._timeout = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()
        if self._at is not None:
            self._due = Due(self._at, self._cut)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._due is not None:
            self._due.cancel()
        await self._timeout.__aexit__(kind, error, trace)

    def _cut(self) -> None:
        self._timeout.reschedule(0)


def timeout(seconds: float) -> Timeout:
    return Timeout(asyncio.get_running_loop().time() + seconds)
