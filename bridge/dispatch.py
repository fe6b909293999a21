"""The path of a message: contract, read, runtime, contract, commit."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bridge import __version__
from bridge.attempt import Attempt, Failure, Hops, Watch, bucket_of_message, whom_to_ask
from bridge.canonical import normalise
from bridge.contracts.contract import migration_of
from bridge.errors import BridgeError, InvalidRequest, Refusal, RuntimeFault, RuntimeUnavailable
from bridge.journal.store import Journal
from bridge.journal.values import Commit, Done, Route, Same, Snapshot
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
from bridge.patience import Timeout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bridge.contracts.registry import Contract, Operation, Registry
    from bridge.runtimes.runtime import Runtime
    from bridge.telemetry import Telemetry

MAX_WAITING = 1000  # commands that may wait for one key before `overloaded` is answered


_NOTHING = Outcome(None, [])  # of a refusal


class TimerGone(Exception):
    """The timer behind a message was replaced, cancelled or has fired: nothing to do."""


@dataclass(slots=True)
class _Lane:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class Dispatcher:
    """Handle messages: the owner computes, the worker judges and commits, then answers.

    Commands of one key pass one at a time through this worker; between workers the fence at
    the commit decides, and the loser dispatches its message again. `committed` is called with
    the subsystem after each commit, so that effects start without waiting for a poll; `rerouted`
    before anything is computed under another epoch of a route than the one seen last; `watch`
    sees what is answered while a move runs.
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
        watch: Watch | None = None,
    ) -> None:
        self._registry = registry
        self._journal = journal
        self._runtimes = runtimes
        self._telemetry = telemetry
        self._zone = zone
        self._committed = committed
        self._rerouted = rerouted
        self._watch = watch
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
        begun = time.monotonic()
        deadline = begun + timeout_ms / 1000
        contract = self._registry.get(message.subsystem)
        contract.check_key(message.key)
        operation = contract.operation(message.operation, internal=internal)
        try:
            request = operation.check_request(message.request)
        except InvalidRequest:
            # It may be the repeat of one that was applied under an older version, if any was.
            done = await self._done(operation, message) if contract.version > 1 else None
            if done is None:
                raise
            return done.reply
        message = Message(*message[:4], request, *message[5:])
        if operation.kind == "query":
            snapshot = await self._journal.read(message.subsystem, message.key)
            read = time.monotonic()
            snapshot, _ = await self._current(contract, message, snapshot, deadline)
            attempt = await self._compute(
                contract, operation, message, snapshot, deadline, runtime
            )
            if runtime is None:
                self._answered(contract, operation, snapshot.route, attempt, begun, read, 0.0)
            elif attempt.refusal is not None:  # nobody is judged by what the route did not decide
                raise attempt.refusal
            return attempt.outcome.reply
        if runtime is not None:
            raise BridgeError(
                "unknown_operation",
                "only a query may name the runtime to ask",
                expected="query",
                actual="command",
            )
        async with self._lane(message):
            return await self._command(contract, operation, message, begun, deadline)

    async def _command(
        self,
        contract: Contract,
        operation: Operation,
        message: Message,
        begun: float,
        deadline: float,
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
            read = time.monotonic()
            snapshot, migrated = await self._current(contract, message, snapshot, deadline)
            attempt = await self._compute(contract, operation, message, snapshot, deadline)
            if attempt.refusal is not None:
                self._answered(contract, operation, snapshot.route, attempt, begun, read, 0.0)
            sent = time.monotonic()
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
                    took = time.monotonic() - sent
                    self._answered(
                        contract, operation, snapshot.route, attempt, begun, read, took
                    )
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
                asked = migration_of(contract, snapshot.state, snapshot.contract, context, 0)
                attempt = Attempt(runtime, reason, outcome, None, asked, 100, 0.0, ())
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
    ) -> Attempt:
        if self._epochs.get(message.subsystem) != snapshot.route.epoch:
            self._epochs[message.subsystem] = snapshot.route.epoch
            self._rerouted(message.subsystem)
        route = snapshot.route
        bucket = bucket_of_message(contract, message) if route.share else 100
        failed: list[Failure] = []
        fault: BridgeError | None = None
        for name, reason in whom_to_ask(route, bucket, only):
            runtime = self._runtimes.get(name)
            left_ms = _left_ms(deadline, message)
            if runtime is None or not runtime.available(message.subsystem):
                text = f"no instance that implements {message.subsystem} can be reached"
                failed.append(Failure(name, RuntimeUnavailable(name, text), called=False))
                continue
            # A candidate leaves the owner the time to answer in its stead.
            most_ms = max(1, left_ms // 2) if reason == "canary" else left_ms
            invocation = self._invocation(
                contract, operation, message, snapshot, left_ms, most_ms
            )
            started = time.perf_counter()
            refusal = None
            try:
                judge = contract.judge(operation, name)
                if reason == "canary":
                    outcome = await _within(most_ms, name, runtime.handle(invocation, judge))
                else:
                    outcome = await runtime.handle(invocation, judge)
            except Refusal as refused:
                try:
                    refusal, outcome = operation.check_refusal(refused, name), _NOTHING
                except RuntimeFault as error:
                    fault = error
            except RuntimeFault as error:
                fault = error
            except BridgeError as error:
                if not isinstance(error, RuntimeUnavailable) and reason != "canary":
                    raise
                failed.append(Failure(name, error, called=True))
                self._telemetry.emit("runtime_unavailable", runtime=name, text=str(error))
                continue
            if fault is None:
                took_us = (time.perf_counter() - started) * 1e6
                told = tuple(failed)
                return Attempt(name, reason, outcome, refusal, invocation, bucket, took_us, told)
            failed.append(Failure(name, fault, called=True))
            self._fault(fault, message, deadline)
            if reason != "canary":
                break
            fault = None
        if self._watch is not None and route.candidate is not None and only is None:
            self._watch.failed(route, bucket, tuple(failed))
        raise fault or (failed[0].error if failed else RuntimeUnavailable(route.owner, "none"))

    def _invocation(
        self,
        contract: Contract,
        operation: Operation,
        message: Message,
        snapshot: Snapshot,
        left_ms: int,
        most_ms: int,
    ) -> Invocation:
        return Invocation(
            subsystem=message.subsystem,
            key=message.key,
            operation=message.operation,
            kind=operation.kind,
            request=message.request,
            state=contract.initial_state if snapshot.state is None else snapshot.state,
            context=self._context(message, snapshot, left_ms),
            digest=contract.digest,
            timeout_ms=min(contract.timeout_ms, most_ms),
        )

    def _fault(self, fault: BridgeError, message: Message, deadline: float) -> None:
        kind = fault.kind if isinstance(fault, RuntimeFault) else fault.code
        runtime = str(fault.detail.get("runtime", ""))
        self._telemetry.emit(
            "runtime_fault",
            runtime=runtime,
            subsystem=message.subsystem,
            kind=kind,
            text=str(fault),
        )
        if kind == "timeout":
            _left_ms(deadline, message)  # the client's time was the shorter one

    def _answered(
        self,
        contract: Contract,
        operation: Operation,
        route: Route,
        attempt: Attempt,
        begun: float,
        read: float,
        commit: float,
    ) -> None:
        """Tell who watches a move; raise what the handler refused with."""
        if self._watch is not None and route.candidate is not None:
            whole = time.monotonic() - begun
            hops = Hops((read - begun) * 1e6, commit * 1e6, whole * 1e6)
            self._watch.answered(contract, operation, route, attempt, hops)
        if attempt.refusal is not None:
            raise attempt.refusal

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


async def _within(ms: int, name: RuntimeName, answer: Awaitable[Outcome]) -> Outcome:
    try:
        async with Timeout(asyncio.get_running_loop().time() + ms / 1000):
            return await answer
    except TimeoutError:
        raise RuntimeUnavailable(name, f"no answer within {ms} ms, of a message's half") from None


def _commit_of(
    contract: Contract,
    message: Message,
    snapshot: Snapshot,
    attempt: Attempt,
    fingerprint: str,
    idempotency: str,
) -> Commit:
    outcome, context = attempt.outcome, attempt.invocation.context
    entry = {
        "operation": message.operation,
        "request": message.request,
        "digest": contract.digest,
        "build": f"{__version__}+{outcome.build}" if outcome.build else __version__,
        "zone": context.local["zone"],
        "deadline_ms": context.deadline_ms,
    }
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
        now_ms=context.now_ms,
        reply=outcome.reply,
        state=outcome.state,
        effects=outcome.effects,
        entry=entry,
        timer=message.timer,
        set_by=message.set_by,
        base=snapshot.base,
        bucket=attempt.bucket,
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
