"""Attempts of claimed calls, in memory; no service takes any from there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from bridge.journal.memory_state import Lane, Subsystem
from bridge.journal.records import call_timer
from bridge.journal.values import AttemptState, OutboxEntry, Place


@dataclass(slots=True)
class _Call:
    attempts: int = 0
    answer: bytes = b""
    until_ms: int = 0  # while it has a place


class MemoryAttempts:
    """`MemoryJournal.attempts`. `of` finds a subsystem, `release` takes off a lane's head."""

    def __init__(
        self,
        clock: Callable[[], int],
        of: Callable[[str], Subsystem],
        release: Callable[[Subsystem, str, int], None],
    ) -> None:
        self._clock = clock
        self._of = of
        self._release = release
        self._calls: dict[str, _Call] = {}
        self._running: dict[tuple[str, str], set[str]] = {}
        self._waiting: dict[tuple[str, str], list[str]] = {}

    async def begin(
        self,
        entry: OutboxEntry,
        place: Place,
        lease_ms: int,
        max_attempts: int,
        stream: str = "",
        event: bytes = b"",
    ) -> AttemptState:
        lane = self._standing(entry, place)
        if isinstance(lane, AttemptState):
            return lane
        call = self._calls.setdefault(entry.id, _Call(entry.attempts))
        if call.answer:
            return AttemptState("answered", call.answer)
        if call.attempts >= max_attempts:
            return AttemptState("spent", error=lane.entries[0].error)
        if not self._has_place(entry, place):
            waiting = self._waiting.setdefault((entry.subsystem, place.activity), [])
            if entry.id not in waiting:
                waiting.append(entry.id)
            lane.due_ms = 2**53
            return AttemptState("waits")
        if stream:
            return AttemptState("away")
        self._stay(entry, place, lane, lease_ms)
        call.attempts += 1
        lane.entries[0] = replace(lane.entries[0], attempts=call.attempts)
        return AttemptState("begun")

    async def keep(self, entry: OutboxEntry, place: Place, lease_ms: int) -> AttemptState:
        lane = self._standing(entry, place)
        if isinstance(lane, AttemptState):
            return lane
        self._stay(entry, place, lane, lease_ms)
        return AttemptState("kept")

    async def later(
        self,
        entry: OutboxEntry,
        place: Place,
        after_ms: int,
        error: str,
        answer: bytes = b"",
        *,
        uncounted: bool = False,
    ) -> bool:
        lane = self._claimed(entry)
        if lane is None:
            return False
        self._leave(entry, place)
        call = self._calls.setdefault(entry.id, _Call(entry.attempts))
        call.answer = answer
        call.attempts -= uncounted
        lane.due_ms = self._clock() + after_ms
        head = replace(lane.entries[0], token="", error=error, attempts=call.attempts)
        lane.entries[0] = head
        return True

    async def done(self, entry: OutboxEntry, place: Place) -> bool:
        if self._claimed(entry) is None:
            return False
        self._remove(entry, place)
        return True

    def _claimed(self, entry: OutboxEntry) -> Lane | None:
        lane = self._of(entry.subsystem).lanes.get(entry.lane)
        return lane if lane is not None and lane.entries[0].token == entry.token != "" else None

    def _standing(self, entry: OutboxEntry, place: Place) -> Lane | AttemptState:
        lane = self._claimed(entry)
        if lane is None:
            return AttemptState("lost")
        timer = self._of(entry.subsystem).timers.get(call_timer(entry))
        if timer is None or timer.timer.set_by != entry.id:
            self._remove(entry, place)
            return AttemptState("gone")
        return lane

    def _remove(self, entry: OutboxEntry, place: Place) -> None:
        self._leave(entry, place)
        self._calls.pop(entry.id, None)
        self._release(self._of(entry.subsystem), entry.lane, 1)

    def _stay(self, entry: OutboxEntry, place: Place, lane: Lane, lease_ms: int) -> None:
        lane.due_ms = self._clock() + lease_ms
        self._calls.setdefault(entry.id, _Call()).until_ms = lane.due_ms
        self._running.setdefault((entry.subsystem, place.activity), set()).add(entry.id)

    def _has_place(self, entry: OutboxEntry, place: Place) -> bool:
        running = self._held(entry, place)
        return not place.activity or entry.id in running or len(running) < place.limit

    def _held(self, entry: OutboxEntry, place: Place) -> set[str]:
        running = self._running.setdefault((entry.subsystem, place.activity), set())
        now = self._clock()
        running &= {id for id in running if id in self._calls and self._calls[id].until_ms > now}
        return running

    def _leave(self, entry: OutboxEntry, place: Place) -> None:
        running = self._held(entry, place)
        running.discard(entry.id)
        waiting = self._waiting.get((entry.subsystem, place.activity), [])
        free = max(0, place.limit - len(running))
        lanes = self._of(entry.subsystem).lanes
        for id in waiting[:free]:
            if id in lanes:
                lanes[id].due_ms = self._clock()
        del waiting[:free]
