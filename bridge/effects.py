"""The executors: what commits left in the outbox is done, what timers have due is dispatched."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from bridge.dispatch import Dispatcher, TimerGone
from bridge.errors import BridgeError
from bridge.message import Message, derived_id

if TYPE_CHECKING:
    from bridge.journal.store import Journal, OutboxEntry, Timer
    from bridge.telemetry import Telemetry

Executor = Callable[["OutboxEntry"], Awaitable[None]]

SWEEP_S = 1.0  # how late work is found that another worker left behind
BATCH = 50
FIRST_RETRY_MS = 250
LAST_RETRY_MS = 60_000
ENDLESS = 2**31  # attempts of what is waited for: it never goes to the dead
WAIT_MS = 2000  # longest pause before it is looked whether what was away is back


class EffectFailed(Exception):
    """An executor could not do it; the text is kept with the effect.

    It will be tried again, unless it is `final`: what can never succeed goes to the dead at once.
    """

    def __init__(self, text: str, *, final: bool = False) -> None:
        super().__init__(text)
        self.final = final


class EffectWaits(EffectFailed):
    """What it goes to is away: that is no failure of the effect's. It waits for as long."""


class Effects:
    """Run the outbox and the timers of every subsystem, one task each.

    `executors` maps an effect's kind to what does it; kinds without one are held and shown.
    """

    def __init__(
        self,
        journal: Journal,
        dispatcher: Dispatcher,
        executors: Mapping[str, Executor],
        subsystems: list[str],
        telemetry: Telemetry,
        *,
        lease_ms: int,
        attempts: int,
        timeout_ms: int,
    ) -> None:
        self._journal = journal
        self._dispatcher = dispatcher
        self._executors = executors
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
        entries = await self._journal.claim(
            subsystem, tuple(self._executors), BATCH, self._lease_ms
        )
        await asyncio.gather(*map(self._execute, entries))
        return len(entries)

    async def _execute(self, entry: OutboxEntry) -> None:
        text, attempts = "", self._attempts
        try:
            # Half the lease: an effect is not begun again while it may still be under way.
            async with asyncio.timeout(self._lease_ms / 2000):
                await self._executors[entry.kind](entry)
        except EffectWaits as error:
            pause_ms = random.randint(FIRST_RETRY_MS, WAIT_MS)
            await self._journal.fail(entry, str(error), pause_ms, ENDLESS)
            self._telemetry.emit("effect_waits", kind=entry.kind)
            return
        except EffectFailed as error:
            text, attempts = str(error), 1 if error.final else attempts
        except TimeoutError:
            text = "no answer in time"
        except Exception as error:  # a defect of one executor holds up its own lane only
            text = f"{type(error).__name__}: {error}"
            self._telemetry.emit("defect", where="effect", text=f"{entry.id}: {text}")
        if text:
            after_ms = backoff_ms(entry.attempts)
            fate = await self._journal.fail(entry, text, after_ms, attempts)
            self._telemetry.emit(
                "effect_failed", kind=entry.kind, fate=fate, text=f"{entry.id}: {text}"
            )
        else:
            await self._journal.complete(entry)
            self._telemetry.emit("effect_done", kind=entry.kind)

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
            fate = await self._journal.fail_timer(
                timer, f"{error.code}: {error}", backoff_ms(timer.attempts), attempts
            )
            self._telemetry.emit(
                "timer_failed", subsystem=timer.subsystem, fate=fate, text=f"{timer.id}: {error}"
            )


def backoff_ms(attempts: int) -> int:
    """Return a random wait that doubles with each attempt (full jitter above the first)."""
    ceiling = min(FIRST_RETRY_MS * 2 ** min(attempts, 16), LAST_RETRY_MS)
    return random.randint(FIRST_RETRY_MS // 2, ceiling)
