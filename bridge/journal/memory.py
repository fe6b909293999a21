"""The journal in memory, for tests and as the reference: what Redis does, read as Python."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import orjson

from bridge.canonical import canonical
from bridge.errors import BridgeError
from bridge.journal import records
from bridge.journal.memory_deliveries import MemoryDeliveries
from bridge.journal.memory_moves import MemoryMoves
from bridge.journal.memory_targets import MemoryTargets
from bridge.journal.positions import is_position, order, states_gone, trim_refused
from bridge.journal.store import (
    Base,
    Commit,
    Committed,
    Dead,
    Done,
    Event,
    OutboxEntry,
    Route,
    Snapshot,
    Tally,
    Timer,
)
from bridge.message import JSON, RuntimeName, Version


@dataclass(slots=True)
class _State:
    version: Version
    at_ms: int
    text: bytes
    contract: int
    at: str  # the position of its entry, and of the one whose whole state that builds on
    whole: str


class _Entry(NamedTuple):
    key: str
    seq: int
    before: str
    whole: str  # "" if it has its own
    text: bytes

    def read(self) -> dict[str, JSON]:
        return records.read_entry(self.text, self.key, self.seq, self.before)


@dataclass(slots=True)
class _Lane:
    entries: list[OutboxEntry]
    due_ms: int
    held: str = ""  # the kind nobody could execute


@dataclass(slots=True)
class _Timer:
    timer: Timer
    visible_ms: int


@dataclass(slots=True)
class _Buried:
    letter: Dead
    entry: OutboxEntry | None
    timer: Timer | None


@dataclass(slots=True)
class _Subsystem:
    """All of one subsystem; texts are canonical bytes, so that nobody holds what is stored."""

    routes: list[Route] = field(default_factory=list)
    states: dict[str, _State] = field(default_factory=dict)
    done: dict[str, tuple[int, bytes]] = field(default_factory=dict)  # id -> (expiry, record)
    idempotency: dict[str, str] = field(default_factory=dict)  # digest -> message id
    entries: dict[str, _Entry] = field(default_factory=dict)  # by position, oldest first
    trimmed: str = records.START
    exported: str = records.START
    events: list[tuple[str, bytes]] = field(default_factory=list)
    events_count: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    lanes: dict[str, _Lane] = field(default_factory=dict)
    timers: dict[str, _Timer] = field(default_factory=dict)
    dead: dict[str, _Buried] = field(default_factory=dict)
    deliveries: MemoryDeliveries | None = None


class MemoryJournal:
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
        self._clock = clock
        self._done_ttl_ms = done_ttl_ms
        self._events_keep = events_keep
        self._delivering = delivering
        self._new_token = new_token
        self._numbers = itertools.count(1)
        self._subsystems: dict[str, _Subsystem] = {}
        self.targets = MemoryTargets(clock)
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
        store.entries[position] = _Entry(
            commit.key, version.seq, before, "" if written.whole else whole, written.entry
        )
        whole = position if written.whole else whole
        store.states[commit.key] = _State(
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
            if kind == "schedule":
                self._schedule(store, commit, effect_id, effect)
            elif kind == "cancel":
                store.timers.pop(records.timer_member(commit.key, effect["id"]), None)
            elif kind != "emit":
                lane = records.lane_of(commit.key, effect_id, effect)
                record = records.outbox_record(commit, effect_id, effect)
                self._append(store, records.read_outbox(commit.subsystem, lane, record))
        return Committed("committed", version)

    def _check(self, store: _Subsystem, commit: Commit) -> Committed | None:
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
        found = [(at, text) for at, text in store.events if order(at) > after][:count]
        return [records.read_event(at, subsystem, text) for at, text in found]

    async def has_gap(self, subsystem: str, position: str) -> bool:
        store = self._of(subsystem)
        if not is_position(position):
            return True
        if position == records.START:
            return store.events_count > len(store.events)
        return all(at != position for at, _ in store.events)

    # -- outbox ----------------------------------------------------------------------------
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
            store.dead[letter.id] = _Buried(letter, head, None)
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

    # -- deliveries ------------------------------------------------------------------------
    def deliveries(self, subsystem: str) -> MemoryDeliveries:
        store = self._of(subsystem)
        if store.deliveries is None:
            store.deliveries = MemoryDeliveries(subsystem, self._clock, self._position)
        return store.deliveries

    # -- timers ----------------------------------------------------------------------------
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
            store.dead[letter.id] = _Buried(letter, None, standing.timer)
            del store.timers[member]
            return "dead"
        standing.timer = replace(standing.timer, attempts=attempts, error=error)
        standing.visible_ms = self._clock() + retry_after_ms
        return "retried"

    async def timers(self, subsystem: str, limit: int = 100) -> list[Timer]:
        timers = sorted(self._of(subsystem).timers.values(), key=lambda t: t.visible_ms)
        return [timer.timer for timer in timers[:limit]]

    # -- dead letters ----------------------------------------------------------------------
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
            store.timers[member] = _Timer(timer, self._clock())
        del store.dead[dead_id]
        return True

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
    def _of(self, subsystem: str) -> _Subsystem:
        return self._subsystems.setdefault(subsystem, _Subsystem())

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

    def _done(self, store: _Subsystem, message_id: str, idempotency: str) -> Done | None:
        for wanted in (message_id, store.idempotency.get(idempotency, "")):
            expiry, record = store.done.get(wanted, (0, b""))
            if expiry > self._clock():
                return records.read_done(wanted.encode(), record)
        return None

    def _emit(self, store: _Subsystem, text: bytes) -> None:
        store.events.append((self._position(), text))
        store.events_count += 1
        del store.events[: -self._events_keep]
        store.arrived.set()
        store.arrived = asyncio.Event()

    def _schedule(
        self, store: _Subsystem, commit: Commit, effect_id: str, effect: dict[str, Any]
    ) -> None:
        member = records.timer_member(commit.key, effect["id"])
        body = canonical(records.timer_body(effect_id, effect))
        timer = records.read_timer(commit.subsystem, member, body)
        store.timers[member] = _Timer(timer, timer.due_ms)

    def _append(self, store: _Subsystem, entry: OutboxEntry) -> None:
        if entry.lane in store.lanes:
            store.lanes[entry.lane].entries.append(entry)
        else:
            store.lanes[entry.lane] = _Lane([entry], self._clock())

    def _claimed(self, store: _Subsystem, entry: OutboxEntry) -> OutboxEntry | None:
        lane = store.lanes.get(entry.lane)
        return lane.entries[0] if lane and lane.entries[0].token == entry.token != "" else None

    def _after(self, store: _Subsystem, entry: OutboxEntry, done: int) -> OutboxEntry | None:
        """Take the executed ones off a claimed lane; return its head then, None if not ours."""
        head = self._claimed(store, entry)
        if head is None:
            return None
        lane = store.lanes[entry.lane]
        del lane.entries[:done]
        return lane.entries[0]

    def _release(self, store: _Subsystem, name: str, count: int) -> None:
        lane = store.lanes[name]
        del lane.entries[:count]
        lane.entries[:] = [replace(entry, token="") for entry in lane.entries]
        lane.due_ms = self._clock()
        if not lane.entries:
            del store.lanes[name]
