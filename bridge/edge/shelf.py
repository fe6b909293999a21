"""Older events, read and decoded once for all clients that come back within a few seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from bridge.journal.positions import in_stream, order
from bridge.journal.values import Event

Read = Callable[[str], Awaitable[list[Event] | None]]

MAX_PAGES = 32
KEEP_S = 5.0  # after the last client took it


@dataclass(slots=True, eq=False)
class Page:
    """The events after a position, up to `end`, by key."""

    start: str
    end: str
    first: tuple[int, int]  # the order of `start` ...
    last: tuple[int, int]  # ... and of `end`
    used_s: float
    of_key: dict[str, list[Event]] = field(default_factory=dict)

    def after(self, position: str, key: str) -> list[Event]:
        """Return a key's events after a position."""
        events = self.of_key.get(key, [])
        if position == self.start:
            return events
        at = order(position)
        return [event for event in events if order(event.position) > at]


class Shelf:
    """Keep the pages that were read last, and share the reading of one.

    `read` returns the events after a position, None if some are gone.
    """

    def __init__(self, read: Read, at_once: int) -> None:
        self._read = read
        self._places = asyncio.Semaphore(at_once)
        self._pages: list[Page] = []
        self._reading: dict[str, asyncio.Future[Page | None]] = {}

    async def page(self, position: str) -> Page | None:
        """Return the page in which the events after a position begin; None if some are gone.

        A page without events ends where it starts: there are no more.
        """
        while (page := self._found(position)) is None:
            reading = self._reading.get(position)
            if reading is None:
                async with self._places:
                    if position in self._reading or self._found(position):
                        continue  # by somebody who was before us
                    return await self._fetch(position)
            await asyncio.wait((reading,))
            if reading.cancelled() or reading.exception() is not None:
                continue  # whoever read it has gone, or is told why
            return reading.result()
        return page

    def clear(self) -> None:
        self._pages.clear()

    async def _fetch(self, position: str) -> Page | None:
        reading = self._reading[position] = asyncio.get_running_loop().create_future()
        reading.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            events = await self._read(position)
        except BaseException as error:
            reading.set_exception(error) if isinstance(error, Exception) else reading.cancel()
            raise
        else:
            page = self._put(position, events) if events is not None else None
            reading.set_result(page)
            return page
        finally:
            del self._reading[position]

    def _put(self, position: str, events: list[Event]) -> Page:
        now = asyncio.get_running_loop().time()
        end = events[-1].position if events else position
        page = Page(position, end, order(position), order(end), now)
        for event in events:
            page.of_key.setdefault(event.key, []).append(event)
        if events:
            kept = sorted(self._fresh(now), key=lambda page: page.used_s)
            self._pages = [*kept[-MAX_PAGES + 1 :], page]
        return page

    def _found(self, position: str) -> Page | None:
        now, at = asyncio.get_running_loop().time(), order(position)
        storage = in_stream(position)[0]
        self._pages = self._fresh(now)
        for page in self._pages:
            if page.first <= at < page.last and storage in ("", in_stream(page.end)[0]):
                page.used_s = now
                return page
        return None

    def _fresh(self, now: float) -> list[Page]:
        return [page for page in self._pages if page.used_s + KEEP_S > now]
