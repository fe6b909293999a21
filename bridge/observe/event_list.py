"""One list `joelclaw:events:<session>` as the commands seen so far leave it. No I/O here."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from bridge.observe.daemon import Look

MAX_READERS = 64  # connections per list; the one that was silent longest is forgotten


@dataclass(slots=True, eq=False)
class Item:
    """One pushed item, known by its digest: payloads are not kept.

    `unsure`: it was there when the observation began or went on, so somebody may have read it
    before. `place` grows toward the head of its list, where writers push.
    """

    n: int
    session: str
    look: Look
    digest: bytes
    pushed_ms: int
    unsure: bool = False
    place: int = 0
    fate: str = ""
    looked_up: bool = False  # a pi session asked whether it had seen it


class Read(NamedTuple):
    """What a connection's latest LRANGE covered: the places from `oldest` to `newest`."""

    oldest: int
    newest: int
    at_ms: int

    def covers(self, item: Item) -> bool:
        return self.oldest <= item.place <= self.newest


class EventList:
    """Head first, as Redis counts. Of `untracked` items nothing is known but that they came."""

    def __init__(self, session: str) -> None:
        self.session = session
        self.items: deque[Item] = deque()
        self.untracked = 0
        self.rung_ms: int | None = None  # its latest doorbell
        self.blocked = False  # a client waits on it, by a BLPOP or the like
        self.reads: OrderedDict[str, Read] = OrderedDict()
        # No place is ever used again, or an earlier read would cover what came after it.
        self._next_newest, self._next_oldest = 0, -1

    def __len__(self) -> int:
        return len(self.items) + self.untracked

    def push(self, item: Item, *, head: bool) -> None:
        if head:
            item.place = self._next_newest
            self._next_newest += 1
            self.items.appendleft(item)
        else:
            item.place = self._next_oldest
            self._next_oldest -= 1
            self.items.append(item)

    def read(self, client: str, start: int, stop: int, at_ms: int) -> None:
        """Note an LRANGE."""
        first, end = self._bounds(start, stop)
        if first == 0 and end == len(self):
            found = Read(self._next_oldest + 1, self._next_newest - 1, at_ms)
        elif covered := list(islice(self.items, first, end)):
            found = Read(covered[-1].place, covered[0].place, at_ms)
        else:
            return
        self.reads[client] = found
        self.reads.move_to_end(client)
        if len(self.reads) > MAX_READERS:
            self.reads.popitem(last=False)

    def readers(self, item: Item) -> Iterator[str]:
        """Yield the connections whose latest LRANGE covers an item."""
        return (client for client, read in self.reads.items() if read.covers(item))

    def clear(self) -> list[Item]:
        """Empty the list; return what was in it, the oldest first."""
        items = list(reversed(self.items))
        self.items.clear()
        self.untracked = 0
        return items

    def pop(self, count: int, *, head: bool) -> list[Item]:
        """Take items from one end, in that order."""
        take = self.items.popleft if head else self.items.pop
        found = [take() for _ in range(min(count, len(self.items)))]
        self.untracked = max(0, self.untracked - (count - len(found)))
        return found

    def trim(self, start: int, stop: int) -> list[Item]:
        """Keep only a range, as LTRIM does; return what went, the oldest first."""
        first, end = self._bounds(start, stop)
        items = list(self.items)
        self.items = deque(items[first:end])
        return [*reversed(items[end:]), *reversed(items[:first])]

    def remove(self, digest: bytes, count: int) -> list[Item]:
        """Remove equal items, as LREM does: from the head, or from the tail if `count` < 0."""
        order = reversed(self.items) if count < 0 else iter(self.items)
        limit = abs(count) or len(self.items)
        found = list(islice((item for item in order if item.digest == digest), limit))
        for item in found:
            self.items.remove(item)
        return found

    def _bounds(self, start: int, stop: int) -> tuple[int, int]:
        """Return the first index and the one after the last, 0 0 for none."""
        length = len(self)
        first = max(0, start + length if start < 0 else start)
        end = min(length, (stop + length if stop < 0 else stop) + 1)
        return (first, end) if first < end else (0, 0)
