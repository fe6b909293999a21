"""Concurrent reads made one: whoever asks while a round trip is under way shares the next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

MAX_TOGETHER = 256  # reads in one script call: it holds Redis for about half a millisecond


class Wanted(NamedTuple):
    key: str
    message_id: str
    idempotency: str


class Raw(NamedTuple):
    """What Redis has for one read; `state` is [seq, id, at_ms, JSON]."""

    route: list[bytes | None]
    state: list[bytes | None]
    done_id: bytes | None
    done: bytes | None


Send = Callable[[str, list[Wanted]], Coroutine[Any, Any, list[Any]]]
Waiting = dict[str, dict[Wanted, list[asyncio.Future[Raw]]]]


class Reads:
    """Collect reads; `send` runs the read script for one subsystem.

    A read is sent after it was asked for, so it sees every commit acknowledged before. Its
    queue is bounded by who waits for it: one place for each caller.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: Waiting = {}
        self._rounds: asyncio.Task[None] | None = None

    def ask(self, subsystem: str, wanted: Wanted) -> asyncio.Future[Raw]:
        """Return a future of the answer; it raises what `send` raised."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Raw] = loop.create_future()
        self._waiting.setdefault(subsystem, {}).setdefault(wanted, []).append(answer)
        if self._rounds is None:
            self._rounds = loop.create_task(self._run())
        return answer

    async def _run(self) -> None:
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, {}
                parts = [
                    (subsystem, dict(part))
                    for subsystem, reads in waiting.items()
                    for part in _parts(list(reads.items()))
                ]
                if len(parts) == 1:
                    await self._ask(*parts[0])
                else:
                    await asyncio.gather(*(self._ask(*part) for part in parts))
        finally:
            self._rounds = None

    async def _ask(self, subsystem: str, reads: dict[Wanted, list[asyncio.Future[Raw]]]) -> None:
        try:
            route, *found = await self._send(subsystem, list(reads))
        except Exception as error:  # raised again where each caller waits
            for answer in _unsettled(reads):
                answer.set_exception(error)
            return
        for n, answers in enumerate(reads.values()):
            raw = Raw(route, found[3 * n], found[3 * n + 1], found[3 * n + 2])
            for answer in answers:
                if not answer.done():
                    answer.set_result(raw)


def _parts(
    reads: list[tuple[Wanted, list[asyncio.Future[Raw]]]],
) -> list[list[tuple[Wanted, list[asyncio.Future[Raw]]]]]:
    return [reads[n : n + MAX_TOGETHER] for n in range(0, len(reads), MAX_TOGETHER)]


def _unsettled(
    reads: dict[Wanted, list[asyncio.Future[Raw]]],
) -> list[asyncio.Future[Raw]]:
    return [answer for answers in reads.values() for answer in answers if not answer.done()]
