"""What a journal is given and tells: commits, snapshots, routes, events, effects, timers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

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


class Present(NamedTuple):
    """One device of somebody who is there. `meta` is what others see of it, its `ref` too."""

    key: str
    ref: str
    id: str
    meta: dict[str, JSON]


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


class Place(NamedTuple):
    """Among which others a call runs: those of an activity, so many at once; '': among none."""

    activity: str = ""
    limit: int = 0


class AttemptState(NamedTuple):
    """How an attempt stands.

    `lost`: another worker has it. `gone`: cancelled, replaced, answered or out of time; it was
    removed. `begun`; `adopted`: a service has it that was asked before; `answered`; `spent`: it
    had all its attempts; `waits`: for one that runs; `away`: no service would take it. `kept`:
    the service was heard of `heard_ms` ago, the function `silent_ms` ago (-1: not yet).
    """

    status: Literal[
        "lost", "gone", "begun", "adopted", "answered", "spent", "waits", "away", "kept"
    ]
    answer: bytes = b""
    error: str = ""
    heard_ms: int = -1
    silent_ms: int = -1


class TargetState(NamedTuple):
    """What all workers know of where effects of a kind go. `since_ms` 0: it is not away."""

    since_ms: int = 0
    attempts: int = 0
    error: str = ""
    wait_ms: int = 0  # until the next attempt
    granted: bool = False  # that attempt is the caller's


class Due(NamedTuple):
    """In how many milliseconds there is something to do; None: nothing waits."""

    outbox_ms: int | None
    timers_ms: int | None


class Shared(NamedTuple):
    """What was asked for by `share` since, and which workers there are; `at_ms` is for the next
    time.
    """

    at_ms: int
    subsystems: frozenset[str]
    workers: frozenset[str]


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
