"""Where effects of one kind go: several at once, and one probe at a time while it is away."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from bridge.errors import BridgeError

if TYPE_CHECKING:
    from bridge.journal.store import Journal
    from bridge.journal.values import OutboxEntry
    from bridge.telemetry import Telemetry

FIRST_RETRY_MS = 250
LAST_RETRY_MS = 60_000
FIRST_PAUSE_MS = 1000  # before a target that is away is tried again; doubles up to ...
LONGEST_PAUSE_MS = 10_000
LONGEST_WISH_MS = 3_600_000  # that a target may have by Retry-After
LOOK_S = 1.0  # how late it is seen that another worker reached the target


class EffectFailed(Exception):
    """An executor could not do it; the text is kept with the effect.

    It will be tried again, unless it is `final`: what can never succeed goes to the dead at once.
    Of several effects it may be about any: each is then tried alone.
    """

    def __init__(self, text: str, *, final: bool = False) -> None:
        super().__init__(text)
        self.final = final


class TargetAway(Exception):
    """What the effects go to is away: that is no failure of theirs. They wait for as long."""

    def __init__(self, text: str, *, retry_after_ms: int = 0) -> None:
        super().__init__(text)
        self.retry_after_ms = min(retry_after_ms, LONGEST_WISH_MS)


class Executor(Protocol):
    """Carries out effects of one kind; raises EffectFailed or TargetAway."""

    together: int  # how many it is given at most

    async def __call__(self, entries: Sequence[OutboxEntry], /) -> None:
        """Carry out all of them, in this order, or none."""
        ...


class Target:
    """One executor, and whether what it reaches is there.

    `open` is False while it is away, for as long as it takes: then its effects are not claimed,
    and all workers together make one attempt, after ever longer pauses. Back, it is given one
    effect, then twice as many each time.
    """

    def __init__(
        self,
        kind: str,
        executor: Executor,
        journal: Journal,
        telemetry: Telemetry,
        *,
        lease_ms: int,
        attempts: int,
    ) -> None:
        self.open = True
        self._kind = kind
        self._executor = executor
        self._journal = journal
        self._telemetry = telemetry
        self._lease_ms = lease_ms
        self._attempts = attempts
        self._size = executor.together
        self._why = ""
        self._closed = asyncio.Event()
        self._one = asyncio.Lock()  # call at a time: an outage costs one

    async def deliver(self, entries: Sequence[OutboxEntry]) -> None:
        """Execute claimed effects, those of a lane in order, and tell the journal of each."""
        async with self._one:
            if self.open:
                await self._deliver(entries)
            else:
                await self._settle(entries, {}, self._why)

    async def watch(
        self,
        claim_one: Callable[[], Awaitable[list[OutboxEntry]]],
        back: Callable[[], None],
        ended: Callable[[str], None],
    ) -> None:
        """While it is away, try one effect whenever it is our turn; until cancelled."""
        while True:
            await self._closed.wait()
            try:
                state = await self._journal.targets.probe(self._kind)
                if state.granted:
                    await self._probe(await claim_one())
                elif state.since_ms:
                    await asyncio.sleep(min(state.wait_ms / 1000, LOOK_S))
                    continue
                else:
                    self._reached()
            except BridgeError:
                await asyncio.sleep(LOOK_S)
            if self.open:
                back()

    async def _probe(self, entries: list[OutboxEntry]) -> None:
        """Try it with these; without any it counts as back, and the first that comes tells."""
        async with self._one:
            if not entries or await self._deliver(entries):
                await self._journal.targets.back(self._kind)
                self._reached()

    def _reached(self) -> None:
        self.open = True
        self._closed.clear()
        self._telemetry.emit("target_back", kind=self._kind)

    async def _deliver(self, entries: Sequence[OutboxEntry]) -> bool:
        """Return whether the target was there."""
        outcomes: dict[str, EffectFailed | None] = {}
        away: TargetAway | None = None
        try:
            # Half the lease: an effect is not begun again while it may still be under way.
            async with asyncio.timeout(self._lease_ms / 2000):
                await self._send_all(entries, outcomes)
        except TargetAway as error:
            away = error
        except TimeoutError:
            away = TargetAway("no answer in time")
        if away is not None:
            await self._went_away(away)
        await self._settle(entries, outcomes, self._why)
        return away is None

    async def _send_all(
        self, entries: Sequence[OutboxEntry], outcomes: dict[str, EffectFailed | None]
    ) -> None:
        at, blocked = 0, set[str]()
        while at < len(entries):
            size = self._size
            await self._send(entries[at : at + size], outcomes, blocked)
            at += size
            self._size = min(2 * size, self._executor.together)

    async def _send(
        self,
        entries: Sequence[OutboxEntry],
        outcomes: dict[str, EffectFailed | None],
        blocked: set[str],
    ) -> None:
        """Send them; of several that are refused find the ones that are, by halves.

        Behind one that failed nothing of its lane is sent.
        """
        entries = [entry for entry in entries if entry.lane not in blocked]
        if not entries:
            return
        try:
            await self._executor(entries)
        except TargetAway:
            raise
        except TimeoutError:
            raise TargetAway("no answer in time") from None
        except Exception as error:  # a defect of one executor holds up its own lane only
            if len(entries) > 1:
                middle = len(entries) // 2
                await self._send(entries[:middle], outcomes, blocked)
                await self._send(entries[middle:], outcomes, blocked)
                return
            blocked.add(entries[0].lane)
            outcomes[entries[0].id] = self._failure(entries[0], error)
        else:
            outcomes.update((entry.id, None) for entry in entries)

    def _failure(self, entry: OutboxEntry, error: Exception) -> EffectFailed:
        if isinstance(error, EffectFailed):
            return error
        text = f"{type(error).__name__}: {error}"
        self._telemetry.emit("defect", where="effect", text=f"{entry.id}: {text}")
        return EffectFailed(text)

    async def _went_away(self, error: TargetAway) -> None:
        self.open, self._size, self._why = False, 1, str(error)
        self._closed.set()
        pause_ms = random.randint(FIRST_PAUSE_MS, 2 * FIRST_PAUSE_MS)
        state = await self._journal.targets.away(
            self._kind, self._why, pause_ms, LONGEST_PAUSE_MS, error.retry_after_ms
        )
        if state.attempts == 1:
            self._telemetry.emit("target_away", kind=self._kind, text=self._why)

    async def _settle(
        self,
        entries: Sequence[OutboxEntry],
        outcomes: dict[str, EffectFailed | None],
        why: str,
    ) -> None:
        """Tell what became of each; what is not in `outcomes` was not sent, and this is why."""
        lanes = itertools.groupby(entries, key=lambda entry: entry.lane)
        await asyncio.gather(*(self._settle_lane(list(lane), outcomes, why) for _, lane in lanes))

    async def _settle_lane(
        self,
        lane: list[OutboxEntry],
        outcomes: dict[str, EffectFailed | None],
        why: str,
    ) -> None:
        failures = [outcomes[entry.id] for entry in lane if entry.id in outcomes]
        done = sum(1 for _ in itertools.takewhile(lambda failed: failed is None, failures))
        for _ in range(done):
            self._telemetry.emit("effect_done", kind=self._kind)
        if done == len(lane):
            await self._journal.complete(lane[0], done)
            return
        entry = lane[done]
        failed = outcomes.get(entry.id)
        if failed is None:
            await self._journal.hold(entry, why, done)
            self._telemetry.emit("effect_waits", kind=self._kind)
            return
        attempts = 1 if failed.final else self._attempts
        after_ms = backoff_ms(0 if done else entry.attempts)
        fate = await self._journal.fail(entry, str(failed), after_ms, attempts, done)
        self._telemetry.emit(
            "effect_failed", kind=self._kind, fate=fate, text=f"{entry.id}: {failed}"
        )


def backoff_ms(attempts: int) -> int:
    """Return a random wait that doubles with each attempt (full jitter above the first)."""
    ceiling = min(FIRST_RETRY_MS * 2 ** min(attempts, 16), LAST_RETRY_MS)
    return random.randint(FIRST_RETRY_MS // 2, ceiling)
