"""What is still to happen, in Redis: effects, timers, dead letters. Each method is one script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

from bridge.errors import BridgeError
from bridge.journal import records
from bridge.journal.values import (
    OUTBOX_KINDS,
    Damaged,
    Dead,
    Due,
    OutboxEntry,
    Shared,
    Tally,
    Timer,
)
from bridge.journal.wire import groups, read_dead, read_timers
from bridge.redis.client import Client
from bridge.redis.connection import NotSent, Part, Rejected, Unanswered, WrongType
from bridge.redis.keys import WORKERS, prefix_of
from bridge.redis.refusals import is_refusal

Verdict = Literal["retried", "dead", "lost"]

CLAIM_BYTES = 262_144  # of effects leased at once; a larger one is leased alone


class RedisOutbox:
    """This part of `RedisJournal`."""

    def __init__(self, client: Client, new_token: Callable[[], str]) -> None:
        self._client = client
        self._new_token = new_token

    # -- outbox ----------------------------------------------------------------------------
    async def claim(
        self,
        subsystem: str,
        kinds: Sequence[str],
        count: int,
        lease_ms: int,
        together: int = 1,
    ) -> list[OutboxEntry]:
        token = self._new_token()
        answer = await self._run(
            "claim",
            prefix_of(subsystem),
            *(token, count, together, CLAIM_BYTES, lease_ms),
            *kinds,
        )
        return [
            records.read_outbox(
                subsystem,
                lane.decode(),
                record,
                due_ms=due_ms,
                attempts=int(attempts),
                error=error.decode(),
                token=token,
            )
            for lane, due_ms, attempts, error, record in groups(answer, 5)
        ]

    async def complete(self, entry: OutboxEntry, count: int = 1) -> bool:
        prefix = prefix_of(entry.subsystem)
        return bool((await self._run("complete", prefix, entry.lane, entry.token, count))[0])

    async def fail(
        self,
        entry: OutboxEntry,
        error: str,
        retry_after_ms: int,
        max_attempts: int,
        done: int = 0,
    ) -> Verdict:
        verdict = await self._fail(entry, error, retry_after_ms, max_attempts, done, "")
        return cast(Verdict, verdict)

    async def hold(self, entry: OutboxEntry, error: str, done: int = 0) -> bool:
        return await self._fail(entry, error, 0, 0, done, entry.kind) == "held"

    async def _fail(self, entry: OutboxEntry, *arguments: Part) -> str:
        answer = await self._run(
            "fail", prefix_of(entry.subsystem), entry.lane, entry.token, entry.id, *arguments
        )
        return str(answer[0].decode())

    async def due(self, subsystem: str, kinds: Sequence[str]) -> Due:
        found = await self._run("due", prefix_of(subsystem), *kinds)
        return Due(*(None if ms < 0 else ms for ms in found))

    async def share(self, subsystem: str) -> None:
        await self._run("workers", WORKERS, "share", subsystem)

    async def shared(self, since_ms: int) -> Shared:
        at_ms, subsystems, workers = await self._run("workers", WORKERS, "shared", since_ms)
        names = (frozenset(name.decode() for name in names) for names in (subsystems, workers))
        return Shared(at_ms, *names)

    async def tally(self, subsystem: str) -> Tally:
        waiting, *held = [
            await self._tally(subsystem, name)
            for name in ("ready", *(f"held:{kind}" for kind in OUTBOX_KINDS))
        ]
        dead, dead_error, *_ = await self._run("dead", prefix_of(subsystem), 0)
        every = [waiting, *held]
        return Tally(
            held=sum(effects for effects, _, _ in held),
            waiting=waiting[0],
            oldest_ms=min((oldest for _, oldest, _ in every if oldest), default=0),
            error=next((error for _, _, error in every if error), ""),
            dead=int(dead),
            dead_error=dead_error.decode(),
        )

    async def _tally(self, subsystem: str, what: str) -> tuple[int, int, str]:
        effects, oldest_ms, error, cursor = 0, 0, "", b"0"
        while True:
            cursor, _, count, oldest, one = await self._run(
                "tally", prefix_of(subsystem), what, cursor, error
            )
            effects += int(count)
            error = one.decode()
            if oldest:
                oldest_ms = min(int(oldest), oldest_ms or int(oldest))
            if cursor == b"0":
                return effects, oldest_ms, error

    async def outbox(self, subsystem: str, limit: int = 100) -> list[OutboxEntry]:
        answer = await self._run("outbox", prefix_of(subsystem), limit, *OUTBOX_KINDS)
        return [
            records.read_outbox(
                subsystem,
                lane.decode(),
                record,
                due_ms=int(due_ms),
                held=bool(held),
                attempts=int(attempts),
                error=error.decode(),
            )
            for lane, due_ms, held, attempts, error, record in groups(answer, 6)
        ]

    # -- timers ----------------------------------------------------------------------------
    async def due_timers(self, subsystem: str, count: int, lease_ms: int) -> list[Timer]:
        return read_timers(
            subsystem, await self._run("due_timers", prefix_of(subsystem), count, lease_ms)
        )

    async def fail_timer(
        self, timer: Timer, error: str, retry_after_ms: int, max_attempts: int
    ) -> Verdict:
        member = records.timer_member(timer.key, timer.id)
        answer = await self._run(
            "fail_timer",
            prefix_of(timer.subsystem),
            *(member, timer.set_by, error, retry_after_ms, max_attempts),
        )
        return cast(Verdict, answer[0].decode())

    async def timers(self, subsystem: str, limit: int = 100) -> list[Timer]:
        return read_timers(subsystem, await self._run("timers", prefix_of(subsystem), limit))

    # -- dead letters ----------------------------------------------------------------------
    async def dead(self, subsystem: str, limit: int = 100) -> list[Dead]:
        answer = await self._run("dead", prefix_of(subsystem), limit)
        return [read_dead(subsystem, *letter) for letter in groups(answer[2:], 7)]

    async def redrive(self, subsystem: str, dead_id: str) -> bool:
        if not (await self._run("redrive", prefix_of(subsystem), dead_id))[0]:
            return False
        await self.share(subsystem)
        return True

    # -- inside ----------------------------------------------------------------------------
    async def _run(self, script: str, key: str, *arguments: Part) -> list[Any]:
        try:
            return await self._client.run(script, key, *arguments)
        except (NotSent, Unanswered, Rejected) as error:
            raise unavailable(error) from None

    async def _call(self, subsystem: str, *command: Part) -> Any:
        return (await self._run("call", prefix_of(subsystem), *command))[0]


def unavailable(error: Exception) -> BridgeError:
    if isinstance(error, WrongType):
        return Damaged(error.key, error.found, error.expected)
    if isinstance(error, Rejected) and not is_refusal(error):
        return BridgeError("internal", f"Redis refused: {error}")
    return BridgeError("storage_unavailable", f"Redis: {error}")
