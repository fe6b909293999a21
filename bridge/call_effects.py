"""Calls: what `call` effects ask for is done, and `then` is told what came of it, once.

A call stands while its timer does, which its commit set for the end of its time: the answer
takes the timer's place, as a message of the timer's id. So of answer, timeout, cancellation and
replacement one happens, whatever workers and services do meanwhile.
"""

from __future__ import annotations

import asyncio
import functools
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import orjson

from bridge.activities.activity import (
    ActivityAway,
    ActivityFailed,
    ActivityRuntime,
    Attempt,
    NotRetryable,
    read_answer,
)
from bridge.activities.subsystem import SubsystemCalls
from bridge.canonical import canonical, normalise
from bridge.contracts.contract import Activity, Retry, answered, call_failed, call_id
from bridge.dispatch import Dispatcher, TimerGone
from bridge.errors import BridgeError, text_of
from bridge.journal.values import OutboxEntry, Place
from bridge.message import JSON, Message, derived_id
from bridge.targets import backoff_ms

if TYPE_CHECKING:
    from bridge.contracts.registry import Registry
    from bridge.journal.store import Journal
    from bridge.telemetry import Telemetry

LEASE_MS = 6000  # of who runs an attempt, or waits for the service that does
KEEP_S = 1.0
LOST_MS = 6000  # a service that was not heard of for so long runs it no longer
AWAY_MS = 1000  # until it is seen whether somebody is there to run it
MAX_RUNNING = 1000  # in one worker
MAX_ANSWER_BYTES = 1_048_576
ALWAYS = Retry(max_attempts=2**31, initial_ms=250, max_ms=10_000)  # a subsystem, till the timeout


class _Gone(Exception):
    """The call does not stand any more, or another worker has it."""


class Calls:
    """Takes the place of a target for effects of kind `call`: each runs by itself.

    `runtimes` run activities, by the name that contracts give them.
    """

    def __init__(
        self,
        registry: Registry,
        journal: Journal,
        dispatcher: Dispatcher,
        runtimes: Mapping[str, ActivityRuntime],
        telemetry: Telemetry,
        *,
        timeout_ms: int,
    ) -> None:
        self._registry = registry
        self._journal = journal
        self._dispatcher = dispatcher
        self._runtimes = runtimes
        self._telemetry = telemetry
        self._timeout_ms = timeout_ms
        self._running: set[asyncio.Task[None]] = set()
        self._freed = asyncio.Event()
        self._ended_in: Callable[[str], None] = lambda subsystem: None

    @property
    def open(self) -> bool:
        return len(self._running) < MAX_RUNNING

    async def deliver(self, entries: Sequence[OutboxEntry]) -> None:
        """Begin what was claimed; returns at once."""
        for entry in entries:
            task = asyncio.create_task(self._carry_out(entry))
            self._running.add(task)
            task.add_done_callback(functools.partial(self._ended, entry.subsystem))

    async def watch(
        self,
        claim_one: Callable[[], Awaitable[list[OutboxEntry]]],
        back: Callable[[], None],
        ended: Callable[[str], None],
    ) -> None:
        """Have more claimed when one ended, and when there is room again; at the end, end what
        runs.
        """
        self._ended_in = ended
        try:
            while True:
                await self._freed.wait()
                self._freed.clear()
                back()
        finally:
            for task in list(self._running):
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    def _ended(self, subsystem: str, task: asyncio.Task[None]) -> None:
        if not self.open:
            self._freed.set()
        self._running.discard(task)
        self._ended_in(subsystem)  # its place is free, and it may come again

    async def _carry_out(self, entry: OutboxEntry) -> None:
        try:
            await _Attending(self, entry).run()
        except _Gone:
            self._telemetry.emit("call_gone", subsystem=entry.subsystem)
        except BridgeError as error:  # Redis: the claim ends, and the call comes again
            self._telemetry.emit("effects_wait", subsystem=entry.subsystem, text=str(error))
        except Exception as error:  # a defect of ours holds up this call only
            text = f"{entry.id}: {text_of(error)}"
            self._telemetry.emit("defect", where="call", text=text)


class _Attending:
    """One claimed call, from its claim until it is told, put off or somebody else's."""

    def __init__(self, calls: Calls, entry: OutboxEntry) -> None:
        self._calls = calls
        self._entry = entry
        self._effect = effect = entry.effect
        self._attempts = calls._journal.attempts
        contract = calls._registry.get(entry.subsystem)
        self._activity: Activity | None = contract.activities.get(effect["to"])
        self._runtime: ActivityRuntime | None
        if self._activity is not None:
            activity = self._activity
            self._place = Place(activity.name, activity.concurrency)
            self._retry, self._timeout_ms = activity.retry, activity.timeout_ms
            self._heartbeat_ms = activity.heartbeat_ms
            self._runtime = calls._runtimes.get(activity.runtime)
        else:
            self._place, self._retry, self._heartbeat_ms = Place(), ALWAYS, 0
            self._timeout_ms = calls._timeout_ms
            self._runtime = SubsystemCalls(
                self._ask, effect["to"], str(effect.get("operation", ""))
            )

    async def run(self) -> None:
        entry, effect = self._entry, self._effect
        if self._activity is None and ":" not in effect["to"]:  # of an older contract
            text = f"{entry.subsystem} has no activity {effect['to']} any more"
            await self._tell(self._failed("failed", text))
            return
        attempt = Attempt(
            entry.id,
            entry.subsystem,
            entry.key,
            effect["to"],
            entry.attempts + 1,
            effect["request"],
            self._timeout_ms,
            self._heartbeat_ms,
        )
        runtime = self._runtime
        if runtime is None or not runtime.available(entry.subsystem, effect["to"]):
            await self._away(f"{effect['to']}: nobody is there who would run it")
            return
        queued = runtime.queued(attempt)
        state = await self._attempts.begin(
            entry, self._place, LEASE_MS, self._retry.max_attempts, *(queued or ())
        )
        match state.status:
            case "lost" | "gone":
                raise _Gone
            case "waits":
                return
            case "away":
                await self._away(f"{effect['to']}: no service would take it")
            case "spent":
                text = f"the last of {entry.attempts} attempts ended without a word"
                await self._tell(self._failed("failed", state.error or text))
            case "answered":
                await self._take_kept(state.answer)
            case "adopted":
                attempt.number = entry.attempts
                await self._attend(runtime, attempt, queued=True)
            case _:
                await self._attend(runtime, attempt, queued=queued is not None)

    async def _take_kept(self, answer: bytes) -> None:
        """Go on where another worker, or this one, could not: with what a service answered, or
        with what `then` was not told yet.
        """
        match orjson.loads(answer):
            case {"then": dict(request)}:
                await self._tell(request)
            case _:
                where = self._effect["to"]
                await self._take(self._entry.attempts, lambda: _read(answer, where))

    async def _attend(self, runtime: ActivityRuntime, attempt: Attempt, *, queued: bool) -> None:
        work = asyncio.create_task(runtime.perform(attempt))
        work.add_done_callback(lambda task: task.cancelled() or task.exception())
        until_s = time.monotonic() + attempt.timeout_ms / 1000
        found: Callable[[], JSON]
        try:
            answer = await self._wait(work, attempt, until_s, queued=queued)
            found = (lambda: _read(answer, attempt.activity)) if queued else work.result
        except ActivityFailed as error:
            found = _raising(error)
        finally:
            work.cancel()
        try:
            await self._take(attempt.number, found)
        except ActivityAway as error:
            await self._away(str(error), begun=True)

    async def _wait(
        self, work: asyncio.Task[JSON], attempt: Attempt, until_s: float, *, queued: bool
    ) -> bytes:
        """Hold the claim until there is an answer, which is returned if a service gave it.

        While Redis is away nobody else can have it either, and no service can say anything.
        """
        # When what a service has not said means something: it may have been away with Redis, too.
        trust_s = time.monotonic() + LOST_MS / 1000
        while True:
            left_s = KEEP_S if queued else min(KEEP_S, until_s - time.monotonic())
            if not queued or not work.done():
                await asyncio.wait((work,), timeout=max(left_s, 0))
            else:
                await asyncio.sleep(KEEP_S)
            if work.done() and not queued:
                return b""
            if not queued and time.monotonic() >= until_s:
                raise ActivityFailed(f"no answer within {attempt.timeout_ms} ms")
            try:
                kept = await self._attempts.keep(self._entry, self._place, LEASE_MS)
            except BridgeError:
                trust_s = time.monotonic() + LOST_MS / 1000
                continue
            if kept.status != "kept":
                raise _Gone
            if queued:
                if kept.answer:
                    return kept.answer
                if time.monotonic() < trust_s:
                    continue
                if kept.heard_ms > LOST_MS:
                    raise ActivityFailed("the service that ran it is gone")
                silent_ms = kept.silent_ms
            else:
                silent_ms = int((time.monotonic() - attempt.beat_s) * 1000)
            if attempt.heartbeat_ms and silent_ms > attempt.heartbeat_ms:
                raise ActivityFailed(f"no heartbeat for {silent_ms} ms")

    async def _take(self, number: int, found: Callable[[], JSON]) -> None:
        """Tell what came of an attempt, or have it made again."""
        entry, effect = self._entry, self._effect
        try:
            reply = self._judged(found())
        except ActivityFailed as error:
            if error.retryable and number < self._retry.max_attempts:
                longest_ms = self._retry.pause_ms(number)
                after_ms = random.randint((longest_ms + 1) // 2, longest_ms)
                await self._later(after_ms, error.message)
                return
            detail = {**error.detail, "attempts": number}
            told = error.code, error.message, detail
            await self._tell(self._failed(*told, retryable=error.retryable))
        else:
            await self._tell(answered(effect, entry.id, reply))

    def _judged(self, reply: JSON) -> JSON:
        """Return a reply normalised. Raises NotRetryable for one that is off the contract."""
        try:
            reply = normalise(reply)
        except BridgeError as error:
            raise _off_contract(error.message, error.detail) from error
        if self._activity is not None:
            violation = self._activity.reply.violation(reply)
            if violation is not None:
                raise _off_contract(str(violation), violation.as_detail())
        size = len(canonical(reply))
        if size > MAX_ANSWER_BYTES:
            text = f"a reply of {size} bytes, limit is {MAX_ANSWER_BYTES}"
            raise _off_contract(text, {})
        return reply

    def _failed(
        self,
        code: str,
        message: str,
        detail: Mapping[str, JSON] | None = None,
        *,
        retryable: bool = False,
    ) -> dict[str, JSON]:
        effect, id = self._effect, self._entry.id
        return call_failed(effect, id, code, message, retryable=retryable, detail=detail)

    async def _tell(self, request: dict[str, JSON]) -> None:
        """Give `then` what came of it, in the place of the timer, and remove the call."""
        entry, effect = self._entry, self._effect
        id = call_id(effect, entry.id)
        message = Message(
            derived_id(entry.id, f"timer/{id}"),
            entry.subsystem,
            entry.key,
            effect["then"],
            request,
            timer=id,
            set_by=entry.id,
        )
        try:
            await self._dispatch(message)
        except TimerGone:
            pass
        except BridgeError as error:
            if error.code in ("refused", "invalid_request"):  # it will be so each time
                text = f"{effect['then']}: {error.code}: {error}"
                await self._calls._journal.fail(entry, text, 0, 1)
                self._emit("call_refused", text)
                return
            if error.code != "idempotency_conflict":  # else the timer was told meanwhile
                after_ms = backoff_ms(entry.attempts)
                await self._later(after_ms, f"{error.code}: {error}", {"then": request})
                return
        await self._attempts.done(entry, self._place)
        self._emit("call_failed" if "error" in request else "call_done")

    async def _dispatch(self, message: Message) -> None:
        """Dispatch what `then` is told, again while Redis is away: it is kept only here."""
        dispatcher, timeout_ms = self._calls._dispatcher, self._calls._timeout_ms
        while True:
            try:
                await dispatcher.dispatch(message, timeout_ms=timeout_ms, internal=True)
                return
            except BridgeError as error:
                if error.code not in ("storage_unavailable", "outcome_unknown"):
                    raise
            await asyncio.sleep(random.uniform(0.2, KEEP_S))

    async def _later(self, after_ms: int, why: str, answer: JSON = None) -> None:
        kept = orjson.dumps(answer) if answer is not None else b""
        await self._attempts.later(self._entry, self._place, after_ms, why, kept)
        self._emit("call_again", why)

    async def _away(self, why: str, *, begun: bool = False) -> None:
        after_ms = random.randint(AWAY_MS, 2 * AWAY_MS)
        await self._attempts.later(self._entry, self._place, after_ms, why, uncounted=begun)
        self._emit("call_waits")

    async def _ask(self, message: Message) -> JSON:
        return await self._calls._dispatcher.dispatch(message, timeout_ms=self._calls._timeout_ms)

    def _emit(self, name: str, text: str = "") -> None:
        told = f"{self._entry.id}: {text}" if text else self._entry.id
        to = self._effect["to"].partition(":")[0]
        self._calls._telemetry.emit(name, subsystem=self._entry.subsystem, to=to, text=told)


def _off_contract(text: str, detail: Mapping[str, JSON]) -> ActivityFailed:
    return NotRetryable.of("off_contract", text, detail)


def _read(answer: bytes, where: str) -> JSON:
    return read_answer(orjson.loads(answer), where)


def _raising(error: ActivityFailed) -> Callable[[], JSON]:
    def found() -> JSON:
        raise error

    return found
