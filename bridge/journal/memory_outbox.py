"""What is still to happen, in memory: effects that wait, timers, dead letters."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from bridge.journal import records
from bridge.journal.memory_state import Buried, Lane, Pending, Subsystem
from bridge.journal.values import (
    Dead,
    Due,
    OutboxEntry,
    Shared,
    Tally,
    Timer,
)


class MemoryOutbox:
    """The part of the journal that executors work on. `clock` tells milliseconds."""

    def __init__(self, clock: Callable[[], int], new_token: Callable[[], str]) -> None:
        self._clock = clock
        self._new_token = new_token
        self._subsystems: dict[str, Subsystem] = {}
        self._shares: dict[str, int] = {}  # by subsystem, when

    async def claim(
        self,
        subsystem: str,
        kinds: Sequence[str],
        count: int,
        lease_ms: int,
        together: int = 1,
    ) -> list[OutboxEntry]:
        store, now, token = self._of(subsystem), self._clock(), self._new_token()
        claimed: list[OutboxEntry] = []
        for lane in store.lanes.values():
            if lane.held in kinds:
                lane.held, lane.due_ms = "", now
        for lane in sorted(store.lanes.values(), key=lambda lane: lane.due_ms):
            if lane.held or lane.due_ms > now or len(claimed) == count:
                continue
            kind = lane.entries[0].kind
            if kind not in kinds:
                lane.held = kind
                continue
            lane.due_ms = now + max(1, lease_ms)
            same = itertools.takewhile(lambda entry, kind=kind: entry.kind == kind, lane.entries)  # type: ignore[misc]
            taken = [replace(entry, token=token, due_ms=lane.due_ms) for entry in same]
            taken = taken[: min(together, count - len(claimed))]
            lane.entries[: len(taken)] = taken
            claimed += taken
        return claimed

    async def complete(self, entry: OutboxEntry, count: int = 1) -> bool:
        store = self._of(entry.subsystem)
        if self._claimed(store, entry) is None:
            return False
        self._release(store, entry.lane, count)
        return True

    async def fail(
        self,
        entry: OutboxEntry,
        error: str,
        retry_after_ms: int,
        max_attempts: int,
        done: int = 0,
    ) -> Literal["retried", "dead", "lost"]:
        store = self._of(entry.subsystem)
        head = self._after(store, entry, done)
        if head is None:
            return "lost"
        attempts = head.attempts + 1
        if attempts >= max_attempts:
            letter = records.dead_effect(head, error, attempts, self._clock())
            store.dead[letter.id] = Buried(letter, head, None)
            self._release(store, entry.lane, 1)
            return "dead"
        lane = store.lanes[entry.lane]
        lane.due_ms = self._clock() + retry_after_ms
        lane.entries[0] = replace(head, token="", attempts=attempts, error=error)
        return "retried"

    async def hold(self, entry: OutboxEntry, error: str, done: int = 0) -> bool:
        store = self._of(entry.subsystem)
        head = self._after(store, entry, done)
        if head is None:
            return False
        store.lanes[entry.lane].held = head.kind
        store.lanes[entry.lane].entries[0] = replace(head, token="", error=error)
        return True

    async def due(self, subsystem: str, kinds: Sequence[str]) -> Due:
        store, now = self._of(subsystem), self._clock()
        lanes = [
            now if lane.held else lane.due_ms
            for lane in store.lanes.values()
            if not lane.held or lane.held in kinds
        ]
        timers = [timer.visible_ms for timer in store.timers.values()]
        first = (min(found) if found else None for found in (lanes, timers))
        return Due(*(at_ms and max(0, at_ms - now) for at_ms in first))

    async def share(self, subsystem: str) -> None:
        self._shares[subsystem] = self._clock()

    async def shared(self, since_ms: int) -> Shared:
        names = (name for name, at_ms in self._shares.items() if at_ms >= since_ms)
        return Shared(self._clock(), frozenset(names), frozenset())

    async def tally(self, subsystem: str) -> Tally:
        store = self._of(subsystem)
        lanes = [
            (bool(lane.held), entry) for lane in store.lanes.values() for entry in lane.entries
        ]
        letters = await self.dead(subsystem, len(store.dead))
        return Tally(
            held=sum(held for held, _ in lanes),
            waiting=sum(not held for held, _ in lanes),
            oldest_ms=min((entry.committed_ms for _, entry in lanes), default=0),
            error=next((entry.error for _, entry in lanes if entry.error), ""),
            dead=len(letters),
            dead_error=letters[-1].error if letters else "",
        )

    async def outbox(self, subsystem: str, limit: int = 100) -> list[OutboxEntry]:
        lanes = self._of(subsystem).lanes.items()
        waiting = sorted(lanes, key=lambda item: (item[1].held, item[1].due_ms, item[0]))
        entries = [
            replace(entry, token="", held=bool(lane.held), due_ms=0 if lane.held else lane.due_ms)
            for _, lane in waiting
            for entry in lane.entries
        ]
        return entries[:limit]

    # -- timers ----------------------------------------------------------------------------------
    async def due_timers(self, subsystem: str, count: int, lease_ms: int) -> list[Timer]:
        now, timers = self._clock(), self._of(subsystem).timers.values()
        due = sorted((t for t in timers if t.visible_ms <= now), key=lambda t: t.visible_ms)
        for timer in due[:count]:
            timer.visible_ms = now + max(1, lease_ms)
        return [timer.timer for timer in due[:count]]

    async def fail_timer(
        self, timer: Timer, error: str, retry_after_ms: int, max_attempts: int
    ) -> Literal["retried", "dead", "lost"]:
        store = self._of(timer.subsystem)
        member = records.timer_member(timer.key, timer.id)
        standing = store.timers.get(member)
        if standing is None or standing.timer.set_by != timer.set_by:
            return "lost"
        attempts = standing.timer.attempts + 1
        if attempts >= max_attempts:
            letter = records.dead_timer(standing.timer, error, attempts, self._clock())
            store.dead[letter.id] = Buried(letter, None, standing.timer)
            del store.timers[member]
            return "dead"
        standing.timer = replace(standing.timer, attempts=attempts, error=error)
        standing.visible_ms = self._clock() + retry_after_ms
        return "retried"

    async def timers(self, subsystem: str, limit: int = 100) -> list[Timer]:
        timers = sorted(self._of(subsystem).timers.values(), key=lambda t: t.visible_ms)
        return [timer.timer for timer in timers[:limit]]

    # -- dead letters ----------------------------------------------------------------------------
    async def dead(self, subsystem: str, limit: int = 100) -> list[Dead]:
        buried = self._of(subsystem).dead.values()
        return sorted((b.letter for b in buried), key=lambda d: (d.died_ms, d.id))[:limit]

    async def redrive(self, subsystem: str, dead_id: str) -> bool:
        store = self._of(subsystem)
        buried = store.dead.get(dead_id)
        if buried is None:
            return False
        if buried.entry is not None:
            entry = replace(buried.entry, attempts=0, error="", token="", due_ms=0)
            self._append(store, entry)
        elif buried.timer is not None:
            member = records.timer_member(buried.timer.key, buried.timer.id)
            if member in store.timers:  # set again since
                return False
            timer = replace(buried.timer, attempts=0, error="")
            store.timers[member] = Pending(timer, self._clock())
        del store.dead[dead_id]
        return True

    # -- inside ----------------------------------------------------------------------------------
    def _of(self, subsystem: str) -> Subsystem:
        return self._subsystems.setdefault(subsystem, Subsystem())

    def _append(self, store: Subsystem, entry: OutboxEntry) -> None:
        if entry.lane in store.lanes:
            store.lanes[entry.lane].entries.append(entry)
        else:
            store.lanes[entry.lane] = Lane([entry], self._clock())

    def _claimed(self, store: Subsystem, entry: OutboxEntry) -> OutboxEntry | None:
        lane = store.lanes.get(entry.lane)
        return lane.entries[0] if lane and lane.entries[0].token == entry.token != "" else None

    def _after(self, store: Subsystem, entry: OutboxEntry, done: int) -> OutboxEntry | None:
        """Take the executed ones off a claimed lane; return its head then, None if not ours."""
        head = self._claimed(store, entry)
        if head is None:
            return None
        lane = store.lanes[entry.lane]
        del lane.entries[:done]
        return lane.entries[0]

    def _release(self, store: Subsystem, name: str, count: int) -> None:
        lane = store.lanes[name]
        del lane.entries[:count]
        lane.entries[:] = [replace(entry, token="") for entry in lane.entries]
        lane.due_ms = self._clock()
        if not lane.entries:
            del store.lanes[name]
