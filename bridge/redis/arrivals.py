"""What arrives in many streams, waited for by one blocking command."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from bridge.patience import Timeout

ROUND_S = 1.0
MAX_ROUNDS = 4
KEPT_S = 2.0  # what was read of a stream, for who comes for it
COUNT = 500  # entries of a stream that are read at once, fewer of many

Found = Mapping[str, list[Any]]
# Returns what came in streams behind positions, waiting so many milliseconds for the first.
Read = Callable[[dict[str, str], int, int], Awaitable[Found]]


class _Place:
    """A stream behind one position, and who waits for what comes there."""

    __slots__ = ("asked_s", "entries", "position", "prefix", "reading", "stream", "waiting")

    def __init__(self, prefix: str, stream: str, position: str) -> None:
        self.prefix = prefix
        self.stream = stream
        self.position = position
        self.entries: list[Any] = []
        self.waiting: set[asyncio.Future[list[Any]]] = set()
        self.reading = False
        self.asked_s = 0.0


class Arrivals:
    """Read on behind where the last entries ended, before somebody comes for more.

    All streams are in one blocking read. One that comes meanwhile has a read of its own until
    that ends, then they are one again. `damaged` is called with prefix and stream where the read
    failed for a key of another type; it raises for the stream that is.
    """

    def __init__(self, read: Read, damaged: Callable[[str, str], Awaitable[None]]) -> None:
        self._read = read
        self._damaged = damaged
        self._places: dict[tuple[str, str], _Place] = {}
        self._rounds: set[asyncio.Task[None]] = set()
        self._until_s = 0.0
        self._beginning = False

    async def after(
        self, prefix: str, stream: str, position: str, count: int, wait_ms: int
    ) -> list[Any]:
        """Return up to `count` entries behind a position, waiting `wait_ms` for the first."""
        place = self._place(prefix, stream, position)
        if not place.entries:
            arrived: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
            place.waiting.add(arrived)
            try:
                async with Timeout(asyncio.get_running_loop().time() + wait_ms / 1000):
                    return (await arrived)[:count]
            except TimeoutError:
                return []
            finally:
                place.waiting.discard(arrived)
        self._take(place)
        return place.entries[:count]

    async def close(self, why: Exception) -> None:
        """End every read; who waits is told why."""
        for place in list(self._places.values()):
            self._failed(place, why)
        for task in list(self._rounds):
            task.cancel()
        await asyncio.gather(*self._rounds, return_exceptions=True)

    def _place(self, prefix: str, stream: str, position: str) -> _Place:
        place = self._places.get((stream, position))
        if place is None:
            place = self._places[stream, position] = _Place(prefix, stream, position)
            self._begin_soon()
        place.asked_s = asyncio.get_running_loop().time()
        return place

    def _take(self, place: _Place) -> None:
        """Go on behind what somebody has taken."""
        self._places.pop((place.stream, place.position), None)
        self._place(place.prefix, place.stream, place.entries[-1][0].decode())

    def _begin_soon(self) -> None:
        if not self._beginning:
            self._beginning = True
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        self._beginning = False
        now = asyncio.get_running_loop().time()
        for key, place in list(self._places.items()):
            if not place.reading and not place.waiting and place.asked_s + KEPT_S < now:
                del self._places[key]
        idle = {p.stream: p for p in self._places.values() if not p.reading and not p.entries}
        if not idle or len(self._rounds) == MAX_ROUNDS:
            return
        if not self._rounds or self._until_s <= now:
            self._until_s = now + ROUND_S
        for place in idle.values():
            place.reading = True
        block_ms = max(1, int((self._until_s - now) * 1000))
        task = asyncio.create_task(self._round(idle, block_ms))
        self._rounds.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._rounds.discard(task)
        if not task.cancelled():
            self._begin_soon()

    async def _round(self, places: dict[str, _Place], block_ms: int) -> None:
        wanted = {stream: place.position for stream, place in places.items()}
        try:
            found = await self._read(wanted, max(20, 4 * COUNT // (3 + len(wanted))), block_ms)
        except Exception as error:  # told to who waits
            for place in places.values():
                self._failed(place, await self._why(place, error))
            return
        finally:
            for place in places.values():
                place.reading = False
        for stream, entries in found.items():
            place = places[stream]
            place.entries = entries
            if place.waiting:
                self._take(place)
            for arrived in place.waiting:
                if not arrived.done():
                    arrived.set_result(entries)

    async def _why(self, place: _Place, error: Exception) -> Exception | None:
        """Return what to tell who waits; None if another stream was the reason."""
        if "WRONGTYPE" not in str(error):
            return error
        try:
            await self._damaged(place.prefix, place.stream)
        except Exception as why:  # of this one
            return why
        return None

    def _failed(self, place: _Place, why: Exception | None) -> None:
        if why is None:
            return
        self._places.pop((place.stream, place.position), None)
        for arrived in place.waiting:
            if not arrived.done():
                arrived.set_exception(why)
