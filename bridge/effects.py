"""The executors: what commits left in the outbox is done, what timers have due is dispatched."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bridge.call_effects import Calls
from bridge.dispatch import Dispatcher, TimerGone
from bridge.errors import BridgeError, text_of
from bridge.message import Message, derived_id
from bridge.rotation import Rotation
from bridge.targets import Executor, Target, backoff_ms

if TYPE_CHECKING:
    from bridge.journal.store import Journal
    from bridge.journal.values import OutboxEntry, Timer
    from bridge.telemetry import Telemetry

LOOK_S = 1.0  # how late it is seen that another worker is gone, or wants help
AGAIN_S = 1.0  # after the journal did not answer
LONGEST_S = 86_400.0
BATCH = 100  # effects claimed at once
ENDLESS = 2**31  # attempts of a timer that waits for its runtime: it never goes to the dead


@dataclass(slots=True)
class _Subsystem:
    """What is wanted of one: a look, its outbox, its timers; and the timers of the loop's that
    will want the latter two.
    """

    look: asyncio.Event = field(default_factory=asyncio.Event)
    outbox: asyncio.Event = field(default_factory=asyncio.Event)
    timers: asyncio.Event = field(default_factory=asyncio.Event)
    outbox_due: asyncio.TimerHandle | None = None
    timers_due: asyncio.TimerHandle | None = None


class Effects:
    """Run the outbox and the timers of every subsystem.

    A worker looks at a subsystem when it committed something there itself, when something is due
    that it saw, when another worker asks for help or is gone, and by and by in turn. A subsystem
    in which nothing happens costs nothing.

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
        self._telemetry = telemetry
        self._lease_ms = lease_ms
        self._attempts = attempts
        self._timeout_ms = timeout_ms
        self._subsystems = {name: _Subsystem() for name in subsystems}

    def kick(self, subsystem: str) -> None:
        """Have a subsystem looked at now: a commit was made there."""
        if subsystem in self._subsystems:
            self._subsystems[subsystem].look.set()

    async def run(self) -> None:
        """Work until cancelled. Storage that does not answer is waited for."""
        async with asyncio.TaskGroup() as tasks:
            for kind, target in self._takers().items():
                one = functools.partial(self._claim_one, kind)
                tasks.create_task(target.watch(one, self._kick_all, self.kick))
            for subsystem, state in self._subsystems.items():
                for once, event in (
                    (self._look, state.look),
                    (self._outbox_once, state.outbox),
                    (self._timers_once, state.timers),
                ):
                    tasks.create_task(self._repeat(subsystem, once, event))
            tasks.create_task(self._watch())
            self._kick_all()

    async def _repeat(
        self, subsystem: str, once: Callable[[str], Awaitable[bool]], wanted: asyncio.Event
    ) -> None:
        """Do it whenever it is wanted, and again for as long as it says so."""
        waiting = ""  # for what; said once, however long it lasts
        while True:
            await wanted.wait()
            wanted.clear()
            try:
                if await once(subsystem):
                    wanted.set()
                waiting = ""
                continue
            except BridgeError as error:
                if waiting != error.code:
                    waiting = error.code
                    self._telemetry.emit("effects_wait", subsystem=subsystem, text=str(error))
            except Exception as error:  # a record that cannot be read must not end the worker
                if waiting != repr(error):
                    waiting = repr(error)
                    self._telemetry.emit("defect", where="effects", text=waiting)
            wanted.set()
            await asyncio.sleep(random.uniform(0.2, 1) * AGAIN_S)

    async def _watch(self) -> None:
        """See whose work is to be done, and look at a few subsystems that nobody speaks of."""
        turn = Rotation(self._subsystems, LOOK_S)
        since_ms, workers = 0, frozenset[str]()
        while True:
            await asyncio.sleep(random.uniform(0.5, 1) * LOOK_S)
            try:
                shared = await self._journal.shared(since_ms)
            except BridgeError:  # who works says it
                continue
            if workers - shared.workers:
                self._kick_all()
            for name in (*shared.subsystems, *turn.next()):
                self.kick(name)
            since_ms, workers = shared.at_ms, shared.workers

    async def _look(self, subsystem: str) -> bool:
        state = self._subsystems[subsystem]
        due = await self._journal.due(subsystem, self._open_kinds())
        state.outbox_due = _set_in(due.outbox_ms, state.outbox, state.outbox_due)
        state.timers_due = _set_in(due.timers_ms, state.timers, state.timers_due)
        return False

    async def _outbox_once(self, subsystem: str) -> bool:
        takers = self._takers()
        entries = await self._claim(subsystem, self._open_kinds(), BATCH)
        if len(entries) == BATCH:
            with contextlib.suppress(BridgeError):  # then nobody helps
                await self._journal.share(subsystem)
        by_kind: dict[str, list[OutboxEntry]] = {}
        for entry in entries:
            by_kind.setdefault(entry.kind, []).append(entry)
        await asyncio.gather(
            *(takers[kind].deliver(claimed) for kind, claimed in by_kind.items())
        )
        self.kick(subsystem)
        return len(entries) == BATCH

    def _open_kinds(self) -> tuple[str, ...]:
        return tuple(kind for kind, taker in self._takers().items() if taker.open)

    def _takers(self) -> dict[str, Target | Calls]:
        return {**self._targets, **self._calls}

    async def _claim_one(self, kind: str) -> list[OutboxEntry]:
        """Claim one effect of a kind, of whatever subsystem."""
        for subsystem in random.sample(list(self._subsystems), len(self._subsystems)):
            if entries := await self._claim(subsystem, (kind,), 1):
                return entries
        return []

    async def _claim(
        self, subsystem: str, kinds: tuple[str, ...], count: int
    ) -> list[OutboxEntry]:
        return await self._journal.claim(subsystem, kinds, count, self._lease_ms, together=count)

    def _kick_all(self) -> None:
        for state in self._subsystems.values():
            state.look.set()

    async def _timers_once(self, subsystem: str) -> bool:
        timers = await self._journal.due_timers(subsystem, BATCH, self._lease_ms)
        await asyncio.gather(*map(self._fire, timers))
        self.kick(subsystem)
        return len(timers) == BATCH

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


def _set_in(
    ms: int | None, event: asyncio.Event, before: asyncio.TimerHandle | None
) -> asyncio.TimerHandle | None:
    """Set the event then, None for never, instead of when it would have been set before."""
    if before is not None:
        before.cancel()
    if ms is None:
        return None
    if ms == 0:
        event.set()
        return None
    return asyncio.get_running_loop().call_later(min(ms / 1000, LONGEST_S), event.set)
