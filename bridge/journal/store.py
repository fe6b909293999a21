"""The durable record: state, journal, events, outbox, timers, routes. Interface and values.

`memory.py` and `redis.py` implement it; `tests/journal/suite.py` is the behaviour both show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from bridge.canonical import digest
from bridge.errors import BridgeError
from bridge.message import JSON, Reason, RuntimeName, Version

# Effects that wait in the outbox for an executor; emit, schedule and cancel happen in the commit.
OUTBOX_KINDS = ("inngest", "system_event", "call")


@dataclass(frozen=True, slots=True)
class Route:
    """Who owns a subsystem, and where a move of it stands. `epoch` grows by one with every
    change; a commit names it. While a move runs there is a candidate, which owns the buckets
    below `share`.
    """

    subsystem: str
    owner: RuntimeName
    fallback: RuntimeName | None
    epoch: int
    changed_ms: int
    phase: str = "steady"
    candidate: RuntimeName | None = None
    share: int = 0

    def allows(self, runtime: str, reason: str, bucket: int) -> bool:
        """Say whether a runtime may commit a message of this bucket for this reason."""
        candidates = self.candidate is not None and bucket < self.share
        match reason:
            case "canary":
                return candidates and runtime == self.candidate
            case "owner":
                return not candidates and runtime == self.owner
        return runtime == self.fallback or (candidates and runtime == self.owner)


@dataclass(frozen=True, slots=True)
class Storage:
    """Which storage this is. Another `id` means that what was known of the former may be gone.

    `why` says how it came to replace `before`, until somebody has accepted it.
    """

    id: str
    made_ms: int
    before: str = ""
    why: str = ""
    changed_ms: int = 0
    format: int = 2  # which form the journal has there: bridge/journal/records.py reads the last


class Damaged(BridgeError):
    """A key in Redis holds another type than the bridge gave it: somebody else wrote to it.

    What needs that key fails, until it is deleted or put right; nothing was applied.
    """

    def __init__(self, key: str, found: str, expected: str) -> None:
        super().__init__(
            "storage_unavailable",
            f"Redis key {key} is a {found}, expected a {expected}: somebody else wrote to it",
            redis_key=key,
            expected=expected,
            actual=found,
        )


class PositionGone(Exception):
    """A position of another storage, or of a stream that went back."""


@dataclass(frozen=True, slots=True)
class Done:
    """The done-record of a committed message: what to answer when it comes again."""

    message_id: str
    fingerprint: str  # digest of [key, operation, request]
    reply: JSON
    seq: int


class Base(NamedTuple):
    """The state that an entry's patch is made to, and which entry last had a whole one."""

    state: JSON
    seq: int
    age_ms: int  # of that entry


class Same(NamedTuple):
    """What makes a request the same again: what was asked, and its idempotency key, if any."""

    asked: JSON
    value: JSON | None = None

    def digests(self, key: str, operation: str) -> tuple[str, str]:
        """Return the fingerprint of the message, and the digest of its idempotency key or ''."""
        named = "" if self.value is None else digest([key, operation, self.value])
        return digest([key, operation, self.asked]), named


class Snapshot(NamedTuple):
    """What one coalesced read tells before a message is handled.

    `state` is None (JSON null is not a state) for a key nothing was committed to; `done` is set
    when the message, or its idempotency key, was committed before. `now_ms` is the store's time,
    the only clock that decides anything: a worker's own may be wrong. Without `base` the next
    entry has its state whole.
    """

    version: Version
    state: JSON | None
    last_ms: int
    now_ms: int
    route: Route
    done: Done | None
    contract: int = 0  # version of the contract the state was written under; 0: there is none
    base: Base | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a subsystem's stream. `position` is opaque, and grows along the stream."""

    position: str
    subsystem: str
    key: str
    seq: int  # of the commit
    n: int  # index of the effect in the commit
    id: str  # "<message id>/<n>"
    type: str
    payload: JSON
    at_ms: int


@dataclass(frozen=True, slots=True)
class Commit:
    """All one command changes, checked and written in one step.

    `effects` are in handler order, with their index as `n`; the store sorts them into events,
    timers and outbox. `entry` is what the journal entry has beyond that: `operation`, `request`,
    `digest`, `build`, and the context's `zone` and `deadline_ms`.
    """

    message_id: str
    fingerprint: str
    idempotency: str  # "" or digest of [key, operation, value at the contract's pointer]
    subsystem: str
    key: str
    expected: Version
    epoch: int
    runtime: RuntimeName
    reason: Reason
    now_ms: int
    reply: JSON
    state: JSON
    effects: Sequence[dict[str, JSON]]
    entry: dict[str, JSON]
    timer: str = ""  # the timer this message came from ...
    set_by: str = ""  # ... and the commit that set it: both must still stand
    base: Base | None = None  # of the snapshot
    bucket: int = 100  # of the message in a move's canary; 100 is nobody's but the owner's
    contract: int = 1  # version of the contract the state is written under


class Committed(NamedTuple):
    """`committed`: written. `duplicate`: was written before; `done` has the stored reply.

    `conflict`: same id or idempotency key, other payload. `stale`: version, owner or epoch moved
    on, dispatch again. `timer_gone`: the timer was replaced, cancelled or has fired; drop it.
    Only `committed` wrote anything.
    """

    status: Literal["committed", "duplicate", "conflict", "stale", "timer_gone"]
    version: Version = Version()
    done: Done | None = None


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """An effect to execute. `lane` is the unit of order: the key, or the effect's own id."""

    id: str  # "<message id>/<n>"
    lane: str
    subsystem: str
    key: str
    kind: str
    effect: dict[str, JSON]
    committed_ms: int
    attempts: int = 0
    due_ms: int = 0
    error: str = ""
    token: str = ""  # of the claim; complete and fail name it
    held: bool = False  # nobody can execute this kind now (no Inngest configured)
    runtime: str = ""  # which committed it; "" for effects committed before this was kept


class TargetState(NamedTuple):
    """What all workers know of where effects of a kind go. `since_ms` 0: it is not away."""

    since_ms: int = 0
    attempts: int = 0
    error: str = ""
    wait_ms: int = 0  # until the next attempt
    granted: bool = False  # that attempt is the caller's


@dataclass(frozen=True, slots=True)
class Tally:
    """Effects that wait and those that are dead; `oldest_ms` is 0 where there is none."""

    held: int = 0  # nobody can execute them, or what they go to is away
    waiting: int = 0
    oldest_ms: int = 0
    error: str = ""  # the last of one of them
    dead: int = 0
    dead_error: str = ""  # of the last


@dataclass(frozen=True, slots=True)
class Delivery:
    """An emitted event that waits for the outlet's receiver; `event.position` names it.

    `attempts` are those that were begun, whether or not somebody lived to end them. Only the
    first in line has any: one is delivered after the other.
    """

    event: Event
    text: bytes  # the CloudEvent, as it stands in the stream
    attempts: int = 0
    error: str = ""  # of the last attempt
    wait_ms: int = 0  # until it may be tried again


class Hold(NamedTuple):
    """Who delivers now, and, told to nobody else, what is first in line."""

    holder: str
    first: Delivery | None = None


class Waiting(NamedTuple):
    """What is not delivered. `holder` is empty while nobody delivers."""

    total: int
    holder: str
    first: list[Delivery]


@dataclass(frozen=True, slots=True)
class Timer:
    """A named timer of a key. Setting replaces; `set_by` is the id of the effect that set it."""

    subsystem: str
    key: str
    id: str
    due_ms: int
    operation: str
    request: JSON
    set_by: str
    attempts: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Dead:
    """What kept failing, kept until it is redriven. `what` is `effect` or `timer`."""

    id: str
    subsystem: str
    key: str
    what: Literal["effect", "timer"]
    kind: str
    body: dict[str, JSON]
    error: str
    attempts: int
    died_ms: int


class Deliveries(Protocol):
    """The events of one subsystem that its outlet has to deliver, in commit order.

    One holder at a time delivers: it names its `token` in every call. What a former holder
    tells, that stood still while its lease ran out, is not heard once another has the lease.
    Every method may raise BridgeError `storage_unavailable`.
    """

    async def hold(self, token: str, lease_ms: int) -> Hold:
        """Take or renew the lease; if another holds it, only say who."""
        ...

    async def release(self, token: str) -> None:
        """Let go of the lease, if it is ours."""
        ...

    async def begin(self, token: str, position: str) -> int:
        """Count an attempt and return its number; 0 if the lease is not ours."""
        ...

    async def done(self, token: str, position: str) -> bool:
        """Remove what was delivered; False if another holds the lease, or it is gone."""
        ...

    async def failed(self, token: str, position: str, error: str, retry_after_ms: int) -> bool:
        """Keep it first in line, and try again later."""
        ...

    async def give_back(self, token: str, position: str) -> bool:
        """Take an attempt back that was nobody's failure."""
        ...

    async def put_back(self, text: bytes) -> None:
        """Have a delivery that was removed delivered after all, as the last in line."""
        ...

    async def arrived(self, wait_ms: int) -> bool:
        """Wait up to `wait_ms` until there is something to deliver."""
        ...

    async def waiting(self, limit: int = 100) -> Waiting: ...


class Targets(Protocol):
    """Where effects of each kind go, as all workers know it: there, or away.

    Every method may raise BridgeError `storage_unavailable`.
    """

    async def state(self, kind: str) -> TargetState:
        """Return what is known of where effects of this kind go."""
        ...

    async def away(
        self, kind: str, error: str, pause_ms: int, longest_ms: int, retry_after_ms: int = 0
    ) -> TargetState:
        """Tell all workers that an attempt failed; the pause doubles with each, up to longest."""
        ...

    async def probe(self, kind: str) -> TargetState:
        """Ask for the one attempt that all workers have together."""
        ...

    async def back(self, kind: str) -> None: ...


class Standing(NamedTuple):
    """Where a subsystem stands: its route, the last move there was, and the store's time."""

    route: Route
    move: dict[str, JSON] | None
    now_ms: int


class Noted(NamedTuple):
    """What a worker adds to the evidence of a move: counters, texts that are kept once, and
    messages to be explained later. `build` names both sides', `lost` says that the candidate
    went away.
    """

    counts: dict[str, int]
    samples: dict[str, str]
    traces: list[str]
    build: str = ""
    lost: bool = False


class Moves(Protocol):
    """Moves, their evidence, and what is accepted of it, by subsystem.

    Every method may raise BridgeError `storage_unavailable`.
    """

    async def standing(self, subsystem: str) -> Standing: ...

    async def change(
        self, route: Route, move: dict[str, JSON], entry: dict[str, JSON], *, fresh: bool = False
    ) -> bool:
        """Write a route, the move it comes of, and what the history says of it, if the epoch
        still is the one before `route.epoch`. `fresh`: evidence of an earlier move goes.
        """
        ...

    async def history(self, subsystem: str) -> list[dict[str, JSON]]:
        """Return what happened to moves and routes, oldest first."""
        ...

    async def note(self, subsystem: str, epoch: int, noted: Noted) -> bool:
        """Add what was seen under an epoch to the evidence; False if the last move began later.

        A move's id is the epoch it began with.
        """
        ...

    async def evidence(self, subsystem: str) -> dict[str, str]: ...

    async def trace(self, subsystem: str, message_id: str) -> dict[str, JSON] | None:
        """Return what was kept of a message of a move; the last thousand are."""
        ...

    async def accept(self, subsystem: str, id: str, accepted: dict[str, JSON] | None) -> bool:
        """Keep an accepted difference, or with None forget it; False if there was none."""
        ...

    async def accepted(self, subsystem: str) -> list[dict[str, JSON]]: ...


class Journal(Protocol):
    """Every method may raise BridgeError `storage_unavailable`: nothing was written, or, if it
    was sent before Redis went away, what was written may be asked for again.

    From `commit` it means that nothing was written; it may raise `outcome_unknown` instead: sent,
    no answer. It is safe to repeat with the same message id, and does so itself while time
    remains.
    """

    # -- messages --------------------------------------------------------------------------
    async def read(
        self, subsystem: str, key: str, message_id: str = "", idempotency: str = ""
    ) -> Snapshot:
        """Read version, state, route and done-record; concurrent reads share round trips."""
        ...

    async def commit(self, commit: Commit, timeout_ms: int) -> Committed: ...

    # -- routes ----------------------------------------------------------------------------
    async def ensure_route(
        self, subsystem: str, owner: RuntimeName, fallback: RuntimeName | None
    ) -> Route:
        """Return the subsystem's route; write it as epoch 1 if there is none."""
        ...

    async def set_route(
        self,
        subsystem: str,
        owner: RuntimeName,
        fallback: RuntimeName | None,
        *,
        by: str = "",
        why: str = "",
    ) -> Route:
        """Make `owner` the owner from now on: epoch + 1, also when nothing else changes.

        Raises BridgeError `invalid_request` while a move runs.
        """
        ...

    async def renew_route(self, subsystem: str) -> Route:
        """Make the next epoch of the route as it is: who has computed computes again."""
        ...

    @property
    def moves(self) -> Moves: ...

    async def routes(self) -> list[Route]:
        """Return the current route of every subsystem, by name."""
        ...

    async def route_log(self, subsystem: str) -> list[Route]:
        """Return every route the subsystem ever had, oldest first."""
        ...

    # -- events ----------------------------------------------------------------------------
    async def last_position(self, subsystem: str) -> str: ...

    async def events_after(
        self, subsystem: str, position: str, count: int = 500, wait_ms: int = 0
    ) -> list[Event]:
        """Return up to `count` events after `position`, waiting up to `wait_ms` for the first.

        Events that were trimmed are left out. Raises PositionGone.
        """
        ...

    async def has_gap(self, subsystem: str, position: str) -> bool:
        """Say whether events after `position` are gone, or the position is of no stream here."""
        ...

    # -- outbox ----------------------------------------------------------------------------
    async def claim(
        self,
        subsystem: str,
        kinds: Sequence[str],
        count: int,
        lease_ms: int,
        together: int = 1,
    ) -> list[OutboxEntry]:
        """Lease up to `count` effects from the heads of due lanes, up to `together` of a lane,
        in its order and of one kind; hold lanes of kinds that are not in `kinds`.
        """
        ...

    async def complete(self, entry: OutboxEntry, count: int = 1) -> bool:
        """Remove the first `count` effects of a claimed lane; False if it is no longer ours."""
        ...

    async def fail(
        self,
        entry: OutboxEntry,
        error: str,
        retry_after_ms: int,
        max_attempts: int,
        done: int = 0,
    ) -> Literal["retried", "dead", "lost"]:
        """Remove the `done` effects before it, then put it back for later, or bury it and
        release the next; `lost` if not ours.
        """
        ...

    async def hold(self, entry: OutboxEntry, error: str, done: int = 0) -> bool:
        """Remove the `done` effects before it, then hold it until its kind is claimed again:
        no attempt of its own. False if not ours.
        """
        ...

    async def tally(self, subsystem: str) -> Tally:
        """Count the effects that wait; it takes a while where there are many."""
        ...

    async def outbox(self, subsystem: str, limit: int = 100) -> list[OutboxEntry]: ...

    @property
    def targets(self) -> Targets: ...

    # -- deliveries ------------------------------------------------------------------------
    def deliveries(self, subsystem: str) -> Deliveries:
        """Return what a subsystem's outlet has to deliver: for those in `delivering`, which is
        an argument of the journal's, each commit adds the events it emits.
        """
        ...

    # -- timers ----------------------------------------------------------------------------
    async def due_timers(self, subsystem: str, count: int, lease_ms: int) -> list[Timer]:
        """Lease timers that Redis's clock says are due; unfired ones come again after it."""
        ...

    async def fail_timer(
        self, timer: Timer, error: str, retry_after_ms: int, max_attempts: int
    ) -> Literal["retried", "dead", "lost"]: ...

    async def timers(self, subsystem: str, limit: int = 100) -> list[Timer]: ...

    # -- dead letters ----------------------------------------------------------------------
    async def dead(self, subsystem: str, limit: int = 100) -> list[Dead]: ...

    async def redrive(self, subsystem: str, dead_id: str) -> bool:
        """Put a dead letter back into its lane (or set its timer due now)."""
        ...

    # -- journal ---------------------------------------------------------------------------
    async def entries(
        self, subsystem: str, after: str = "", count: int = 500, key: str = ""
    ) -> list[tuple[str, dict[str, JSON]]]:
        """Return journal entries after a position, oldest first, each with its position.

        An entry has its `state`, or a `patch` to the one of the entry at `before`.
        """
        ...

    async def states(self, subsystem: str, position: str) -> tuple[JSON | None, JSON]:
        """Return the states before and after an entry; before a key's first one it is None.

        Raises BridgeError `invalid_request` if it is not there, or what it builds on was trimmed.
        """
        ...

    async def recent(self, subsystem: str, count: int) -> list[int]:
        """Return when the last entries were committed, in milliseconds, the newest first."""
        ...

    async def trim(self, subsystem: str, before: str) -> int:
        """Drop entries before `before` that no state of a later one builds on; return how many.

        Refuses past what was exported.
        """
        ...

    async def mark_exported(self, subsystem: str, position: str) -> None:
        """Remember that everything up to `position` is in files; never moves back."""
        ...

    async def keys(self, subsystem: str) -> list[str]: ...

    async def close(self) -> None: ...
