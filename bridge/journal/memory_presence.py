"""Who is there, in memory under leases: what `lua/presence.lua` does."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import orjson

from bridge.canonical import canonical
from bridge.journal import records
from bridge.journal.memory_state import Pending, Subsystem
from bridge.journal.values import Present

TOLD_AFTER_MS = 500

Emit = Callable[[Subsystem, bytes, str], str]


class MemoryPresence:
    """`MemoryJournal.presence`. `emit` adds what changed of a key to the events."""

    def __init__(
        self, clock: Callable[[], int], of: Callable[[str], Subsystem], emit: Emit
    ) -> None:
        self._clock = clock
        self._of = of
        self._emit = emit

    async def turn(
        self,
        subsystem: str,
        here: Sequence[Present] = (),
        gone: Sequence[Present] = (),
        asked: Collection[str] = (),
        *,
        lease_ms: int,
        told: str = "",
    ) -> dict[str, bytes]:
        store, now = self._of(subsystem), self._clock()
        joins: list[Present] = []
        leaves: list[Present] = []
        for one in here:
            if (one.key, one.ref) not in store.present:
                joins.append(one)
            store.present[one.key, one.ref] = now + lease_ms, one
        ended = [one for until, one in store.present.values() if until <= now]
        for one in (*gone, *ended):
            _, there = store.present.pop((one.key, one.ref), (0, None))
            if there is not None:
                leaves.append(there)
        for key in dict.fromkeys(one.key for one in (*joins, *leaves)):
            diff = {
                "joins": _by_id([one for one in joins if one.key == key]),
                "leaves": _by_id([one for one in leaves if one.key == key]),
            }
            position = self._emit(store, orjson.dumps(diff), key)
            if told:
                self._tell(store, subsystem, key, told, f"presence/{position}")
        return {key: orjson.dumps(_by_id(self._at(store, key))) for key in asked}

    def _tell(self, store: Subsystem, subsystem: str, key: str, told: str, set_by: str) -> None:
        member = records.timer_member(key, "presence")
        due_ms = self._clock() + TOLD_AFTER_MS
        if member in store.timers:
            due_ms = min(due_ms, store.timers[member].visible_ms)
        body = {
            "due_ms": due_ms,
            "id": "presence",
            "operation": told,
            "request": {"present": list(_by_id(self._at(store, key)))},
            "set_by": set_by,
        }
        timer = records.read_timer(subsystem, member, canonical(body))
        store.timers[member] = Pending(timer, due_ms)

    def _at(self, store: Subsystem, key: str) -> list[Present]:
        return [one for _, one in store.present.values() if one.key == key]


def _by_id(members: Sequence[Present]) -> dict[str, object]:
    """Return members in Phoenix's form."""
    ids = sorted({one.id for one in members}, key=lambda id: orjson.dumps(id))
    return {
        id: {"metas": [records.presence_meta(one) for one in members if one.id == id]}
        for id in ids
    }
