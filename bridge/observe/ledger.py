"""The items under observation, and the records of what became of them. No I/O here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

from bridge.observe.daemon import look
from bridge.observe.event_list import Item
from bridge.observe.fate import Pushed, Record, Settled

Fault = Callable[[bytes], str]  # what the contract has against an item, empty if nothing


class Ledger:
    """Number the items, give each one fate, and find those that have none by their id."""

    def __init__(self, fault: Fault) -> None:
        self.followed = 0
        self.records: list[Record] = []
        self._fault = fault
        self._n = 0
        self._open: dict[str, list[Item]] = {}  # by id, the oldest first

    def came(self, session: str, raw: bytes, at_ms: int, *, found: bool) -> Item:
        """Record an item that was pushed; `found` if it was there before anything was seen."""
        self._n += 1
        item = Item(self._n, session, look(raw), digest(raw), at_ms, unsure=found)
        self.records.append(
            Pushed(item.n, at_ms, session, raw, item.look, self._fault(raw), found)
        )
        return item

    def follow(self, item: Item) -> None:
        self.followed += 1
        if item.look.id is not None:
            self._open.setdefault(item.look.id, []).append(item)

    def moved(self, item: Item, session: str) -> Item:
        """Follow an item in another list; what is left of it in the first one counts no more."""
        self._close(item, "moved")
        again = Item(item.n, session, item.look, item.digest, item.pushed_ms)
        self.follow(again)
        return again

    def drop(self, item: Item) -> None:
        """Follow an item no longer."""
        self.followed -= 1

    def settle(self, item: Item, at_ms: int, fate: str, cause: str = "", why: str = "") -> bool:
        """Give an item its fate, unless it has one; say whether it got this one."""
        if item.fate:
            return False
        self._close(item, fate)
        what = item.look
        self.records.append(
            Settled(item.n, at_ms, item.session, what.id, what.type, fate, cause, why)
        )
        return True

    def without_fate(self, event_id: str, session: str) -> Iterator[Item]:
        """Yield items of an id in one session's list, the oldest first."""
        return (item for item in self._open.get(event_id, ()) if item.session == session)

    def _close(self, item: Item, fate: str) -> None:
        item.fate = fate
        name = item.look.id or ""
        others = [other for other in self._open.pop(name, ()) if other is not item]
        if others:
            self._open[name] = others


def digest(raw: bytes) -> bytes:
    """Return what items are told apart by: payloads are not kept."""
    return hashlib.blake2b(raw, digest_size=16).digest()
