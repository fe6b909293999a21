"""Concurrent reads made one: whoever asks while a round trip is under way shares the next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, NamedTuple, TypeVar

from bridge.journal.values import Route
from bridge.redis.connection import WrongType

MAX_TOGETHER = 256  # reads in one script call: it holds Redis for about half a millisecond


class Wanted(NamedTuple):
    key: str
    message_id: str
    idempotency: str


class Raw(NamedTuple):
    """What Redis has for one read; `state` is [seq, id, at_ms, JSON, whole, whole_seq, version
    of the contract].
    """

    now_ms: int
    route: Route
    state: list[bytes | None]
    done_id: bytes | None
    done: bytes | None


T = TypeVar("T")
# Returns Redis's time, the route, then for each read what `Raw` has behind them.
Send = Callable[[str, list[Wanted]], Coroutine[Any, Any, list[Any]]]
Waiting = dict[Wanted, list[asyncio.Future[T]]]


class Reads(Generic[T]):
    """Collect reads; `send` runs the read script for one subsystem, `take` makes its answer a
    value, once for all who asked for the same.

    A read is sent after it was asked for, so it sees every commit acknowledged before. Its
    queue is bounded by who waits for it: one place for each caller.
    """

    def __init__(self, send: Send, take: Callable[[Raw], T]) -> None:
        self._send = send
        self._take = take
        self._waiting: dict[str, Waiting[T]] = {}
        self._rounds: asyncio.Task[None] | None = None

    def ask(self, subsystem: str, wanted: Wanted) -> asyncio.Future[T]:
        """Return a future of the value; it raises what `send` or `take` raised."""
        if self._rounds is None:
            self._rounds = asyncio.create_task(self._run())
        answer: asyncio.Future[T] = self._rounds.get_loop().create_future()
        self._waiting.setdefault(subsystem, {}).setdefault(wanted, []).append(answer)
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

    async def _ask(self, subsystem: str, reads: Waiting[T]) -> None:
        try:
            now_ms, route, *found = await self._send(subsystem, list(reads))
        except Exception as error:  # raised again where each caller waits
            if len(reads) > 1 and isinstance(error, WrongType):
                # One key is damaged: whoever asked for another one gets its answer.
                both, half = list(reads.items()), len(reads) // 2
                await asyncio.gather(
                    self._ask(subsystem, dict(both[:half])),
                    self._ask(subsystem, dict(both[half:])),
                )
                return
            for answer in _unsettled(*reads.values()):
                answer.set_exception(error)
            return
        for n, answers in enumerate(reads.values()):
            try:
                value = self._take(Raw(now_ms, route, *found[3 * n : 3 * n + 3]))
            except Exception as error:  # of this read alone
                for answer in _unsettled(answers):
                    answer.set_exception(error)
                continue
            for answer in _unsettled(answers):
                answer.set_result(value)


def _parts(
    reads: list[tuple[Wanted, list[asyncio.Future[T]]]],
) -> list[list[tuple[Wanted, list[asyncio.Future[T]]]]]:
    return [reads[n : n + MAX_TOGETHER] for n in range(0, len(reads), MAX_TOGETHER)]


def _unsettled(*groups: list[asyncio.Future[T]]) -> list[asyncio.Future[T]]:
    return [answer for answers in groups for answer in answers if not answer.done()]
