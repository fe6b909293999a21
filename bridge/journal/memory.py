"""The journal in memory, for tests and as the reference: what Redis does, read as Python."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson

from bridge.canonical import canonical
from bridge.errors import BridgeError
from bridge.journal import records
from bridge.journal.memory_attempts import MemoryAttempts
from bridge.journal.memory_deliveries import MemoryDeliveries
from bridge.journal.memory_moves import MemoryMoves
from bridge.journal.memory_outbox import MemoryOutbox
from bridge.journal.memory_presence import MemoryPresence
from bridge.journal.memory_state import Entry, Pending, State, Subsystem
from bridge.journal.memory_targets import MemoryTargets
from bridge.journal.positions import is_position, order, states_gone, trim_refused
from bridge.journal.values import (
    OUTBOX_KINDS,
    Base,
    Commit,
    Committed,
    Done,
    Event,
    Route,
    Snapshot,
)
from bridge.message import JSON, RuntimeName, Version


class MemoryJournal(MemoryOutbox):
    """Keep the journal in this process. `clock` tells milliseconds, as Redis's TIME does."""

    def __init__(
        self,
        clock: Callable[[], int],
        *,
        done_ttl_ms: int = 604_800_000,
        events_keep: int = 10_000,
        delivering: frozenset[str] = frozenset(),
        new_token: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        super().__init__(clock, new_token)
        self._done_ttl_ms = done_ttl_ms
        self._events_keep = events_keep
        self._delivering = delivering
        self._numbers = itertools.count(1)
        self.targets = MemoryTargets(clock)
        self.attempts = MemoryAttempts(clock, self._of, self._release)
        self.presence = MemoryPresence(clock, self._of, self._emit)
        self.moves = MemoryMoves(clock, lambda subsystem: self._of(subsystem).routes)

    # -- messages --------------------------------------------------------------------------
    async def read(
        self, subsystem: str, key: str, message_id: str = "", idempotency: str = ""
    ) -> Snapshot:
        store = self._of(subsystem)
        if not store.routes:
            raise BridgeError(
                "storage_unavailable",
                f"subsystem {subsystem} has no route, expected one since the start",
                subsystem=subsystem,
            )
        route, now_ms = store.routes[-1], self._clock()
        done = self._done(store, message_id, idempotency)
        state = store.states.get(key)
        if state is None:
            return Snapshot(Version(), None, 0, now_ms, route, done)
        value, base = orjson.loads(state.text), None
        if order(state.whole) >= order(store.trimmed):
            base = Base(value, store.entries[state.whole].seq, now_ms - order(state.whole)[0])
        return Snapshot(
            state.version, value, state.at_ms, now_ms, route, done, state.contract, base
        )

    async def commit(self, commit: Commit, timeout_ms: int) -> Committed:
        store = self._of(commit.subsystem)
        refusal = self._check(store, commit)
        if refusal is not None:
            return refusal
        # All texts are made before the first write: a value that has none changes nothing.
        version = records.next_version(commit)
        written = records.written(commit)
        done = records.done_record(commit)
        effects = list(records.sorted_effects(commit))
        events = [
            canonical(records.cloud_event(commit, event_id, effect))
            for kind, event_id, effect in effects
            if kind == "emit"
        ]

        position, standing = self._position(), store.states.get(commit.key)
        before, whole = (standing.at, standing.whole) if standing else ("", records.START)
        if not written.whole and order(whole) < order(store.trimmed):
            return Committed("stale", commit.expected)
        store.entries[position] = Entry(
            commit.key, version.seq, before, "" if written.whole else whole, written.entry
        )
        whole = position if written.whole else whole
        store.states[commit.key] = State(
            version, commit.now_ms, written.state, commit.contract, position, whole
        )
        store.done[commit.message_id] = self._clock() + self._done_ttl_ms, done
        if commit.idempotency:
            store.idempotency[commit.idempotency] = commit.message_id
        if commit.timer:
            store.timers.pop(records.timer_member(commit.key, commit.timer), None)
        for event in events:
            self._emit(store, event)
            if commit.subsystem in self._delivering:
                self.deliveries(commit.subsystem).append(event)
        for kind, effect_id, effect in effects:
            if kind in ("schedule", "call"):
                self._schedule(store, commit, effect_id, effect)
            elif kind == "cancel":
                store.timers.pop(records.timer_member(commit.key, effect["id"]), None)
            if kind in OUTBOX_KINDS:
                lane = records.lane_of(commit.key, effect_id, effect)
                record = records.outbox_record(commit, effect_id, effect)
                self._append(store, records.read_outbox(commit.subsystem, lane, record))
        return Committed("committed", version)

    def _check(self, store: Subsystem, commit: Commit) -> Committed | None:
        """Check in the order of the commit script."""
        done = self._done(store, commit.message_id, commit.idempotency)
        if done is not None:
            if done.fingerprint != commit.fingerprint:
                return Committed("conflict")
            return Committed("duplicate", Version(done.seq, done.message_id), done)
        if commit.timer:
            timer = store.timers.get(records.timer_member(commit.key, commit.timer))
            if timer is None or timer.timer.set_by != commit.set_by:
                return Committed("timer_gone")
        state = store.states.get(commit.key)
        version = state.version if state else Version()
        route = store.routes[-1] if store.routes else None
        if route is None or route.epoch != commit.epoch or version != commit.expected:
            return Committed("stale", version)
        allowed = route.allows(commit.runtime, commit.reason, commit.bucket)
        return None if allowed else Committed("stale", version)

    # -- routes ----------------------------------------------------------------------------
    async def ensure_route(
        self, subsystem: str, owner: RuntimeName, fallback: RuntimeName | None
    ) -> Route:
        routes = self._of(subsystem).routes
        if not routes:
            routes.append(Route(subsystem, owner, fallback, 1, self._clock()))
        return routes[-1]

    async def set_route(
        self,
        subsystem: str,
        owner: RuntimeName,
        fallback: RuntimeName | None,
        *,
        by: str = "",
        why: str = "",
    ) -> Route:
        routes = self._of(subsystem).routes
        if routes and routes[-1].candidate is not None:
            raise records.move_runs(routes[-1])
        routes.append(Route(subsystem, owner, fallback, len(routes) + 1, self._clock()))
        self.moves.routed(routes[-1], records.route_entry(owner, by, why))
        return routes[-1]

    async def renew_route(self, subsystem: str) -> Route:
        routes = self._of(subsystem).routes
        epoch = len(routes) + 1
        routes.append(replace(routes[-1], epoch=epoch, changed_ms=self._clock()))
        return routes[-1]

    async def routes(self) -> list[Route]:
        return [store.routes[-1] for _, store in sorted(self._subsystems.items()) if store.routes]

    async def route_log(self, subsystem: str) -> list[Route]:
        return list(self._of(subsystem).routes)

    # -- events ----------------------------------------------------------------------------
    async def last_position(self, subsystem: str) -> str:
        events = self._of(subsystem).events
        return events[-1][0] if events else records.START

    async def events_after(
        self, subsystem: str, position: str, count: int = 500, wait_ms: int = 0
    ) -> list[Event]:
        store, after = self._of(subsystem), order(position)
        try:
            async with asyncio.timeout(wait_ms / 1000):
                while wait_ms and not (store.events and order(store.events[-1][0]) > after):
                    await store.arrived.wait()
        except TimeoutError:
            return []
        found = [each for each in store.events if order(each[0]) > after][:count]
        return [
            records.presence_event(at, order(at)[0], subsystem, key, text)
            if key
            else records.read_event(at, subsystem, text)
            for at, text, key in found
        ]

    async def has_gap(self, subsystem: str, position: str) -> bool:
        store = self._of(subsystem)
        if not is_position(position):
            return True
        if position == records.START:
            return store.events_count > len(store.events)
        return all(at != position for at, *_ in store.events)

    # -- deliveries ------------------------------------------------------------------------
    def deliveries(self, subsystem: str) -> MemoryDeliveries:
        store = self._of(subsystem)
        if store.deliveries is None:
            store.deliveries = MemoryDeliveries(subsystem, self._clock, self._position)
        return store.deliveries

    # -- journal ---------------------------------------------------------------------------
    async def entries(
        self, subsystem: str, after: str = "", count: int = 500, key: str = ""
    ) -> list[tuple[str, dict[str, JSON]]]:
        last = order(after or records.START)
        found = [
            (position, entry.read())
            for position, entry in self._of(subsystem).entries.items()
            if order(position) > last and key in ("", entry.key)
        ]
        return found[:count]

    async def states(self, subsystem: str, position: str) -> tuple[JSON | None, JSON]:
        order(position)
        chain = self._chain(subsystem, position)
        before, state = records.states_of(chain)
        if len(chain) == 1 and chain[0]["before"]:
            before = records.states_of(self._chain(subsystem, chain[0]["before"]))[1]
        return before, state

    async def recent(self, subsystem: str, count: int) -> list[int]:
        positions = list(self._of(subsystem).entries)[-count:]
        return [order(position)[0] for position in reversed(positions)]

    async def trim(self, subsystem: str, before: str) -> int:
        store = self._of(subsystem)
        if order(before) > order(store.exported):
            raise trim_refused(before, store.exported)
        store.trimmed = max(store.trimmed, before, key=order)
        kept = [each for at, each in store.entries.items() if order(at) >= order(before)]
        last = min([before, *(each.whole for each in kept if each.whole)], key=order)
        gone = [at for at in store.entries if order(at) < order(last)]
        for at in gone:
            del store.entries[at]
        return len(gone)

    async def mark_exported(self, subsystem: str, position: str) -> None:
        store = self._of(subsystem)
        store.exported = max(store.exported, position, key=order)

    async def keys(self, subsystem: str) -> list[str]:
        return sorted(self._of(subsystem).states)

    async def close(self) -> None:
        """Nothing to close."""

    # -- inside ----------------------------------------------------------------------------

    def _chain(self, subsystem: str, position: str) -> list[dict[str, JSON]]:
        """Return the key's entries from a position back to a whole state."""
        entries, chain, at = self._of(subsystem).entries, [], position
        while (entry := entries.get(at)) is not None:
            chain.append(entry.read())
            if not entry.whole:
                return chain
            at = entry.before
        raise states_gone(subsystem, position)

    def _position(self) -> str:
        return f"{self._clock()}-{next(self._numbers)}"

    def _done(self, store: Subsystem, message_id: str, idempotency: str) -> Done | None:
        for wanted in (message_id, store.idempotency.get(idempotency, "")):
            expiry, record = store.done.get(wanted, (0, b""))
            if expiry > self._clock():
                return records.read_done(wanted.encode(), record)
        return None

    def _emit(self, store: Subsystem, text: bytes, present: str = "") -> str:
        """Add an event, or with `present` who came to and went from that key."""
        position = self._position()
        store.events.append((position, text, present))
        store.events_count += 1
        del store.events[: -self._events_keep]
        store.arrived.set()
        store.arrived = asyncio.Event()
        return position

    def _schedule(
        self, store: Subsystem, commit: Commit, effect_id: str, effect: dict[str, Any]
    ) -> None:
        setting = records.timer_body(effect_id, effect, commit.now_ms)
        member = records.timer_member(commit.key, setting["id"])
        body = canonical(setting)
        timer = records.read_timer(commit.subsystem, member, body)
        store.timers[member] = Pending(timer, timer.due_ms)
