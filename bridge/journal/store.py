"""The durable record: state, journal, events, outbox, timers, routes. The interface.

`memory.py` and `redis.py` implement it; `tests/journal/suite.py` is the behaviour both show.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, Protocol

from bridge.journal.values import (
    AttemptState,
    Commit,
    Committed,
    Dead,
    Due,
    Event,
    Hold,
    Noted,
    OutboxEntry,
    Place,
    Present,
    Route,
    Shared,
    Snapshot,
    Standing,
    Tally,
    TargetState,
    Timer,
    Waiting,
)
from bridge.message import JSON, RuntimeName


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


class Presences(Protocol):
    """Who is there, by key, each under a lease that is renewed while it is.

    What changes is an event `presence_diff` of the key, behind which whoever follows it has the
    same picture. May raise BridgeError `storage_unavailable`.
    """

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
        """Let enter or stay who is `here`, and go who is `gone` or whose lease has ended.

        Returns who is there of the keys `asked`, JSON text in Phoenix's form. `told` is the
        operation that is sent the ids of who is there, soon after a change.
        """
        ...


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


class Attempts(Protocol):
    """Attempts of claimed calls; a call stands as long as the timer its commit set.

    Every method may raise BridgeError `storage_unavailable`.
    """

    async def begin(
        self,
        entry: OutboxEntry,
        place: Place,
        lease_ms: int,
        max_attempts: int,
        stream: str = "",
        event: bytes = b"",
    ) -> AttemptState:
        """Count an attempt and hold the claim for `lease_ms`, or say what stands instead.

        With `stream`, a service is to take it from there: `event` is what it is told.
        """
        ...

    async def keep(self, entry: OutboxEntry, place: Place, lease_ms: int) -> AttemptState:
        """Hold the claim for longer, and tell what a service has said meanwhile."""
        ...

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
        """End the attempt; `answer` is what is still to be told. False if it is another's.

        `uncounted`: nobody was there who could have begun it.
        """
        ...

    async def done(self, entry: OutboxEntry, place: Place) -> bool: ...


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

    async def due(self, subsystem: str, kinds: Sequence[str]) -> Due:
        """Say when there is an effect to claim, of `kinds` or that nobody examined yet, and when
        a timer is due.
        """
        ...

    async def share(self, subsystem: str) -> None:
        """Have every worker look soon at what there is to do: there is more, or nobody knows."""
        ...

    async def shared(self, since_ms: int) -> Shared: ...

    async def tally(self, subsystem: str) -> Tally:
        """Count the effects that wait; it takes a while where there are many."""
        ...

    async def outbox(self, subsystem: str, limit: int = 100) -> list[OutboxEntry]: ...

    @property
    def targets(self) -> Targets: ...

    @property
    def presence(self) -> Presences: ...

    # -- calls -----------------------------------------------------------------------------
    @property
    def attempts(self) -> Attempts: ...

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
