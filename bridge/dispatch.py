"""The path of a message: contract, read, runtime, contract, commit."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from bridge import __version__
from bridge.canonical import normalise
from bridge.errors import BridgeError, InvalidRequest, Refusal, RuntimeFault, RuntimeUnavailable
from bridge.journal.store import Commit, Done, Journal, Same, Snapshot
from bridge.message import (
    JSON,
    Context,
    Invocation,
    Message,
    Outcome,
    Reason,
    RuntimeName,
    context_for,
)
from bridge.migration import MIGRATED, migrate, must_migrate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bridge.contracts.registry import Contract, Operation, Registry
    from bridge.runtimes.runtime import Runtime
    from bridge.telemetry import Telemetry

MAX_WAITING = 1000  # commands that may wait for one key before `overloaded` is answered


class TimerGone(Exception):
    """The timer behind a message was replaced, cancelled or has fired: nothing to do."""


@dataclass(slots=True)
class _Lane:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class _Attempt(NamedTuple):
    """One computation of one message, held to its contract, not yet committed."""

    runtime: RuntimeName
    reason: Reason
    outcome: Outcome
    context: Context
    build: str


class Dispatcher:
    """Handle messages: the owner computes, the worker judges and commits, then answers.

    Commands of one key pass one at a time through this worker; between workers the fence at
    the commit decides, and the loser dispatches its message again. `committed` is called with
    the subsystem after each commit, so that effects start without waiting for a poll; `rerouted`
    before anything is computed under another epoch of a route than the one seen last.
    """

    def __init__(
        self,
        registry: Registry,
        journal: Journal,
        runtimes: Mapping[RuntimeName, Runtime],
        telemetry: Telemetry,
        *,
        zone: str = "UTC",
        committed: Callable[[str], None] = lambda subsystem: None,
        rerouted: Callable[[str], None] = lambda subsystem: None,
    ) -> None:
        self._registry = registry
        self._journal = journal
        self._runtimes = runtimes
        self._telemetry = telemetry
        self._zone = zone
        self._committed = committed
        self._rerouted = rerouted
        self._epochs: dict[str, int] = {}
        self._lanes: dict[tuple[str, str], _Lane] = {}

    async def dispatch(
        self,
        message: Message,
        *,
        timeout_ms: int,
        internal: bool = False,
        runtime: RuntimeName | None = None,
    ) -> JSON:
        """Return the reply. `runtime` asks a query of that runtime, whoever owns it.

        Raises BridgeError (see `bridge.errors.CODES`), for a timer's message also TimerGone.
        """
        deadline = time.monotonic() + timeout_ms / 1000
        contract = self._registry.get(message.subsystem)
        contract.check_key(message.key)
        operation = contract.operation(message.operation, internal=internal)
        try:
            request = operation.check_request(message.request)
        except InvalidRequest:
            # It may be the repeat of one that was applied under an older version.
            if (done := await self._done(operation, message)) is not None:
                return done.reply
            raise
        message = Message(
            message.id,
            message.subsystem,
            message.key,
            message.operation,
            request,
            message.due_ms,
            message.timer,
            message.set_by,
        )
        if operation.kind == "query":
            snapshot = await self._journal.read(message.subsystem, message.key)
            snapshot, _ = await self._current(contract, message, snapshot, deadline)
            attempt = await self._compute(
                contract, operation, message, snapshot, deadline, runtime
            )
            return attempt.outcome.reply
        if runtime is not None:
            raise BridgeError(
                "unknown_operation",
                "only a query may name the runtime to ask",
                expected="query",
                actual="command",
            )
        async with self._lane(message):
            return await self._command(contract, operation, message, deadline)

    async def _command(
        self, contract: Contract, operation: Operation, message: Message, deadline: float
    ) -> JSON:
        same = same_of(operation, message.request)
        fingerprint, idempotency = same.digests(message.key, message.operation)
        refused = 0
        while True:
            _left_ms(deadline, message)
            snapshot = await self._journal.read(
                message.subsystem, message.key, message.id, idempotency
            )
            if snapshot.done is not None:
                if snapshot.done.fingerprint != fingerprint:
                    raise _conflict(message, idempotency)
                self._telemetry.emit("duplicate", subsystem=message.subsystem)
                return snapshot.done.reply
            snapshot, migrated = await self._current(contract, message, snapshot, deadline)
            attempt = await self._compute(contract, operation, message, snapshot, deadline)
            commit = _commit_of(contract, message, snapshot, attempt, fingerprint, idempotency)
            commit.entry.update(migrated)
            result = await self._journal.commit(commit, _left_ms(deadline, message))
            match result.status:
                case "committed":
                    self._telemetry.emit(
                        "committed",
                        subsystem=message.subsystem,
                        runtime=attempt.runtime,
                        reason=attempt.reason,
                    )
                    self._committed(message.subsystem)
                    return attempt.outcome.reply
                case "duplicate" if result.done is not None:
                    self._telemetry.emit("duplicate", subsystem=message.subsystem)
                    return result.done.reply
                case "conflict":
                    raise _conflict(message, idempotency)
                case "timer_gone":
                    raise TimerGone
            self._telemetry.emit("stale", subsystem=message.subsystem, runtime=attempt.runtime)
            refused += 1
            if refused > 1:  # two workers on one hot key: step aside for a moment
                await asyncio.sleep(random.uniform(0, min(0.001 * 2**refused, 0.05)))

    async def _done(self, operation: Operation, message: Message) -> Done | None:
        """Return the done-record of a command that this version refuses, if it is the same."""
        if operation.kind == "query" or type(message.request) is not dict:
            return None
        same = same_of(operation, normalise(message.request))
        fingerprint, _ = same.digests(message.key, message.operation)
        try:
            snapshot = await self._journal.read(message.subsystem, message.key, message.id)
        except BridgeError:  # then what was wrong with the request is told
            return None
        done = snapshot.done
        return done if done is not None and done.fingerprint == fingerprint else None

    async def migrate(self, subsystem: str, key: str, timeout_ms: int) -> bool:
        """Commit a key's state as this version of the contract has it; False: it needs none.

        Raises BridgeError, `state_refused` for a state that cannot be migrated.
        """
        deadline = time.monotonic() + timeout_ms / 1000
        contract = self._registry.get(subsystem)
        message = Message(str(uuid.uuid4()), subsystem, key, MIGRATED, {})
        async with self._lane(message):
            while True:
                snapshot = await self._journal.read(subsystem, key)
                if not must_migrate(contract, snapshot, key):
                    return False
                context = self._context(message, snapshot, _left_ms(deadline, message))
                found = await migrate(contract, snapshot, context, self._runtimes, deadline)
                runtime, outcome = found
                reason: Reason = "owner" if runtime == snapshot.route.owner else "fallback"
                attempt = _Attempt(runtime, reason, outcome, context, outcome.build)
                fingerprint, _ = Same({}).digests(key, MIGRATED)
                commit = _commit_of(contract, message, snapshot, attempt, fingerprint, "")
                commit.entry.update(_migrated(snapshot, outcome.state))
                result = await self._journal.commit(commit, _left_ms(deadline, message))
                if result.status != "stale":
                    return True

    async def _current(
        self, contract: Contract, message: Message, snapshot: Snapshot, deadline: float
    ) -> tuple[Snapshot, dict[str, JSON]]:
        """Return the snapshot with a state of this version, and what the journal is told of it.

        Raises BridgeError `state_refused`: that key alone cannot be used, and is kept as it is.
        """
        if not must_migrate(contract, snapshot, message.key):
            return snapshot, {}
        context = self._context(message, snapshot, _left_ms(deadline, message))
        _, outcome = await migrate(contract, snapshot, context, self._runtimes, deadline)
        return snapshot._replace(state=outcome.state), _migrated(snapshot, outcome.state)

    def _context(self, message: Message, snapshot: Snapshot, left_ms: int) -> Context:
        now_ms = max(snapshot.now_ms, snapshot.last_ms, message.due_ms)
        return context_for(message.id, now_ms, now_ms + left_ms, self._zone, message.key)

    async def _compute(
        self,
        contract: Contract,
        operation: Operation,
        message: Message,
        snapshot: Snapshot,
        deadline: float,
        only: RuntimeName | None = None,
    ) -> _Attempt:
        if self._epochs.get(message.subsystem) != snapshot.route.epoch:
            self._epochs[message.subsystem] = snapshot.route.epoch
            self._rerouted(message.subsystem)
        candidates: list[tuple[RuntimeName, Reason]] = [(only or snapshot.route.owner, "owner")]
        fallback = snapshot.route.fallback
        if only is None and fallback is not None and fallback != snapshot.route.owner:
            candidates.append((fallback, "fallback"))
        unavailable: RuntimeUnavailable | None = None
        for name, reason in candidates:
            left_ms = _left_ms(deadline, message)
            runtime = self._runtimes.get(name)
            if runtime is None or not runtime.available(message.subsystem):
                unavailable = unavailable or RuntimeUnavailable(
                    name, f"no instance that implements {message.subsystem} can be reached"
                )
                continue
            state = contract.initial_state if snapshot.state is None else snapshot.state
            invocation = Invocation(
                subsystem=message.subsystem,
                key=message.key,
                operation=message.operation,
                kind=operation.kind,
                request=message.request,
                state=state,
                context=self._context(message, snapshot, left_ms),
                digest=contract.digest,
                timeout_ms=min(contract.timeout_ms, left_ms),
            )
            try:
                outcome = await runtime.handle(invocation, contract.judge(operation, name))
                return _Attempt(name, reason, outcome, invocation.context, outcome.build)
            except RuntimeUnavailable as error:
                unavailable = error
                self._telemetry.emit("runtime_unavailable", runtime=name, text=str(error))
            except Refusal as refusal:
                raise operation.check_refusal(refusal, name) from None
            except RuntimeFault as fault:
                self._telemetry.emit(
                    "runtime_fault",
                    runtime=name,
                    subsystem=message.subsystem,
                    kind=fault.kind,
                    text=str(fault),
                )
                if fault.kind == "timeout":
                    _left_ms(deadline, message)  # the client's time was the shorter one
                raise
        raise unavailable or RuntimeUnavailable(snapshot.route.owner, "no runtime")

    @asynccontextmanager
    async def _lane(self, message: Message) -> AsyncIterator[None]:
        name = (message.subsystem, message.key)
        lane = self._lanes.setdefault(name, _Lane())
        if lane.users >= MAX_WAITING:
            raise BridgeError(
                "overloaded",
                f"{MAX_WAITING} commands wait for this key",
                queue="lane",
                limit=MAX_WAITING,
            )
        lane.users += 1
        try:
            async with lane.lock:
                yield
        finally:
            lane.users -= 1
            if lane.users == 0:
                self._lanes.pop(name, None)


def _commit_of(
    contract: Contract,
    message: Message,
    snapshot: Snapshot,
    attempt: _Attempt,
    fingerprint: str,
    idempotency: str,
) -> Commit:
    outcome, now_ms = attempt.outcome, attempt.context.now_ms
    entry = {
        "id": message.id,
        "key": message.key,
        "operation": message.operation,
        "request": message.request,
        "context": attempt.context.as_json(),
        "reply": outcome.reply,
        "effects": outcome.effects,
        "state": outcome.state,
        "runtime": attempt.runtime,
        "reason": attempt.reason,
        "epoch": snapshot.route.epoch,
        "version": contract.version,
        "digest": contract.digest,
        "build": f"{__version__}+{attempt.build}" if attempt.build else __version__,
        "at_ms": now_ms,
    }
    if message.timer:
        entry["timer"] = message.timer
    return Commit(
        message_id=message.id,
        fingerprint=fingerprint,
        idempotency=idempotency,
        subsystem=message.subsystem,
        key=message.key,
        expected=snapshot.version,
        epoch=snapshot.route.epoch,
        runtime=attempt.runtime,
        reason=attempt.reason,
        now_ms=now_ms,
        reply=outcome.reply,
        state=outcome.state,
        effects=outcome.effects,
        entry=entry,
        timer=message.timer,
        set_by=message.set_by,
        contract=contract.version,
    )


def same_of(operation: Operation, request: JSON) -> Same:
    """Return what makes a request of an operation the same one again."""
    return Same(operation.asked(request), operation.idempotency_value(request))


def _migrated(snapshot: Snapshot, state: JSON) -> dict[str, JSON]:
    """Return what the journal is told: the handler met this state, not the entry's before."""
    return {"migrated": {"from_version": snapshot.contract, "state": state}}


def _left_ms(deadline: float, message: Message) -> int:
    left_ms = int((deadline - time.monotonic()) * 1000)
    if left_ms <= 0:
        raise BridgeError(
            "deadline_exceeded",
            "the deadline passed before the commit was sent: not applied",
            message_id=message.id,
        )
    return left_ms


def _conflict(message: Message, idempotency: str) -> BridgeError:
    what = "message id or idempotency key" if idempotency else "message id"
    return BridgeError(
        "idempotency_conflict",
        f"this {what} was committed with another payload",
        message_id=message.id,
    )
