"""The executors: what commits left in the outbox is done, what timers have due is dispatched."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from bridge.call_effects import Calls
from bridge.dispatch import Dispatcher, TimerGone
from bridge.errors import BridgeError, text_of
from bridge.message import Message, derived_id
from bridge.targets import Executor, Target, backoff_ms

if TYPE_CHECKING:
    from bridge.journal.store import Journal
    from bridge.journal.values import OutboxEntry, Timer
    from bridge.telemetry import Telemetry

SWEEP_S = 1.0  # how late work is found that another worker left behind
BATCH = 100  # effects claimed at once
ENDLESS = 2**31  # attempts of a timer that waits for its runtime: it never goes to the dead


class Effects:
    """Run the outbox and the timers of every subsystem, one task each.

    `executors` maps an effect's kind to what does it; kinds without one are held and shown, as
    are those whose target is away. Calls are done by `calls`.
    """

    def __init__(
        self,
        journal: Journal,
        dispatcher: Dispatcher,
        executors: Mapping[str, Executor],
        subsystems: list[str],
        telemetry: Telemetry,
        calls: Calls | None,
        *,
        lease_ms: int,
        attempts: int,
        timeout_ms: int,
    ) -> None:
        self._journal = journal
        self._dispatcher = dispatcher
        self._targets = {
            kind: Target(kind, executor, journal, telemetry, lease_ms=lease_ms, attempts=attempts)
            for kind, executor in executors.items()
        }
        self._calls = {"call": calls} if calls is not None else {}
        self._subsystems = subsystems
        self._telemetry = telemetry
        self._lease_ms = lease_ms
        self._attempts = attempts
        self._timeout_ms = timeout_ms
        self._wake = {name: asyncio.Event() for name in subsystems}

    def kick(self, subsystem: str) -> None:
        """Say that a commit was made: its effects need not wait for the sweep."""
        if subsystem in self._wake:
            self._wake[subsystem].set()

    async def run(self) -> None:
        """Work until cancelled. Storage that does not answer is waited for."""
        async with asyncio.TaskGroup() as tasks:
            for kind, target in self._takers().items():
                one = functools.partial(self._claim_one, kind)
                tasks.create_task(target.watch(one, self._kick_all))
            for subsystem in self._subsystems:
                tasks.create_task(self._repeat(subsystem, self._outbox_once))
                tasks.create_task(self._repeat(subsystem, self._timers_once))

    async def _repeat(self, subsystem: str, once: Callable[[str], Awaitable[int]]) -> None:
        wake = self._wake[subsystem]
        outbox = once == self._outbox_once
        waiting = ""  # for what; said once, however long it lasts
        while True:
            if outbox:
                wake.clear()
            try:
                if await once(subsystem):
                    continue
                waiting = ""
            except BridgeError as error:
                if waiting != error.code:
                    waiting = error.code
                    self._telemetry.emit("effects_wait", subsystem=subsystem, text=str(error))
                await asyncio.sleep(random.uniform(0.2, SWEEP_S))
            except Exception as error:  # a record that cannot be read must not end the worker
                if waiting != repr(error):
                    waiting = repr(error)
                    self._telemetry.emit("defect", where="effects", text=waiting)
                await asyncio.sleep(random.uniform(0.2, SWEEP_S))
            if not outbox:
                await asyncio.sleep(random.uniform(0.5, 1) * SWEEP_S)
                continue
            try:
                async with asyncio.timeout(random.uniform(0.5, 1) * SWEEP_S):
                    await wake.wait()
            except TimeoutError:
                pass

    async def _outbox_once(self, subsystem: str) -> int:
        takers = self._takers()
        kinds = tuple(kind for kind, taker in takers.items() if taker.open)
        entries = await self._claim(subsystem, kinds, BATCH)
        by_kind: dict[str, list[OutboxEntry]] = {}
        for entry in entries:
            by_kind.setdefault(entry.kind, []).append(entry)
        await asyncio.gather(
            *(takers[kind].deliver(claimed) for kind, claimed in by_kind.items())
        )
        return len(entries)

    def _takers(self) -> dict[str, Target | Calls]:
        return {**self._targets, **self._calls}

    async def _claim_one(self, kind: str) -> list[OutboxEntry]:
        """Claim one effect of a kind, of whatever subsystem."""
        for subsystem in random.sample(self._subsystems, len(self._subsystems)):
            if entries := await self._claim(subsystem, (kind,), 1):
                return entries
        return []

    async def _claim(
        self, subsystem: str, kinds: tuple[str, ...], count: int
    ) -> list[OutboxEntry]:
        return await self._journal.claim(subsystem, kinds, count, self._lease_ms, together=count)

    def _kick_all(self) -> None:
        for wake in self._wake.values():
            wake.set()

    async def _timers_once(self, subsystem: str) -> int:
        timers = await self._journal.due_timers(subsystem, BATCH, self._lease_ms)
        await asyncio.gather(*map(self._fire, timers))
        return len(timers)

    async def _fire(self, timer: Timer) -> None:
        message = Message(
            id=derived_id(timer.set_by, f"timer/{timer.id}"),
            subsystem=timer.subsystem,
            key=timer.key,
            operation=timer.operation,
            request=timer.request,
            due_ms=timer.due_ms,
            timer=timer.id,
            set_by=timer.set_by,
        )
        try:
            await self._dispatcher.dispatch(message, timeout_ms=self._timeout_ms, internal=True)
        except TimerGone:
            self._telemetry.emit("timer_gone", subsystem=timer.subsystem)
        except BridgeError as error:
            # What may pass is waited for; what the same message meets again goes to the dead.
            attempts = ENDLESS if error.retryable else self._attempts
            if error.code == "refused":
                attempts = 1
            await self._timer_failed(timer, f"{error.code}: {error}", attempts)
        except Exception as error:  # a defect of ours counts as an attempt like any other
            self._telemetry.emit("defect", where="timer", text=f"{timer.id}: {text_of(error)}")
            await self._timer_failed(timer, f"internal: {text_of(error)}", self._attempts)

    async def _timer_failed(self, timer: Timer, text: str, attempts: int) -> None:
        fate = await self._journal.fail_timer(timer, text, backoff_ms(timer.attempts), attempts)
        self._telemetry.emit(
            "timer_failed", subsystem=timer.subsystem, fate=fate, text=f"{timer.id}: {text}"
        )
