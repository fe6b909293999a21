"""The journal in Redis: each method is one script, each script one step."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import orjson

from bridge.errors import BridgeError
from bridge.journal import records
from bridge.journal.client import Client
from bridge.journal.connection import NotSent, Part, Rejected, Unanswered
from bridge.journal.positions import is_position, order, trim_refused
from bridge.journal.reads import Raw, Reads, Wanted
from bridge.journal.redis_deliveries import RedisDeliveries
from bridge.journal.store import (
    OUTBOX_KINDS,
    Commit,
    Committed,
    Dead,
    Deliveries,
    Event,
    OutboxEntry,
    Route,
    Snapshot,
    Timer,
)
from bridge.journal.wire import (
    commit_arguments,
    groups,
    read_committed,
    read_dead,
    read_route,
    read_timers,
)
from bridge.message import JSON, RuntimeName, Version

Verdict = Literal["retried", "dead", "lost"]

NAMESPACE = "joelclaw:bridge:"
FIRST_PAUSE_S = 0.01  # before a commit without answer is repeated; doubles up to ...
LONGEST_PAUSE_S = 0.5
SCAN_COUNT = 1000

# Errors after which Redis did nothing and may do it later (redis/src/server.c, processCommand).
UNAVAILABLE = frozenset(
    (
        "LOADING",
        "READONLY",
        "MASTERDOWN",
        "BUSY",
        "OOM",
        "MISCONF",
        "NOREPLICAS",
        "CLUSTERDOWN",
        "TRYAGAIN",
        "UNBLOCKED",
        "NOAUTH",
    )
)


def new_token() -> str:
    return uuid.uuid4().hex


class RedisJournal:
    """Keep the journal in one Redis primary.

    `timeout_ms` bounds every wait for Redis; `new_token` makes the tokens of claims; what the
    subsystems `delivering` emit is also kept for their outlet. Use it in one event loop, and
    close it there.
    """

    def __init__(
        self,
        url: str,
        *,
        done_ttl_ms: int = 604_800_000,
        events_keep: int = 10_000,
        delivering: frozenset[str] = frozenset(),
        timeout_ms: int = 2000,
        new_token: Callable[[], str] = new_token,
    ) -> None:
        self._client = Client(url, timeout_ms)
        self._reads = Reads(self._read, _snapshot)
        self._done_ttl_ms = done_ttl_ms
        self._events_keep = events_keep
        self._delivering = delivering
        self._new_token = new_token

    # -- messages --------------------------------------------------------------------------
    async def read(
        self, subsystem: str, key: str, message_id: str = "", idempotency: str = ""
    ) -> Snapshot:
        try:
            return await self._reads.ask(subsystem, Wanted(key, message_id, idempotency))
        except (NotSent, Unanswered, Rejected) as error:
            raise _unavailable(error) from None

    async def commit(self, commit: Commit, timeout_ms: int) -> Committed:
        if timeout_ms <= 0:
            raise BridgeError(
                "deadline_exceeded",
                f"message {commit.message_id} has {timeout_ms} ms left, nothing was sent",
                message_id=commit.message_id,
            )
        arguments = commit_arguments(
            commit,
            self._done_ttl_ms,
            self._events_keep,
            delivering=commit.subsystem in self._delivering,
        )
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_ms / 1000
        pause_s = FIRST_PAUSE_S
        sent = False
        while True:
            try:
                answer = await self._client.run(
                    "commit", _prefix(commit.subsystem), *arguments, deadline=deadline
                )
                return read_committed(commit, answer)
            except Unanswered:
                sent = True
            except (NotSent, Rejected) as error:
                if not sent:
                    raise _unavailable(error) from None
            except BridgeError:  # overloaded
                if not sent:
                    raise
            left_s = deadline - loop.time()
            if left_s <= 0:
                raise BridgeError(
                    "outcome_unknown",
                    f"Redis did not answer the commit of {commit.message_id} within "
                    f"{timeout_ms} ms; repeat it with the same message id",
                    message_id=commit.message_id,
                )
            await asyncio.sleep(min(pause_s, left_s))
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)

    # -- routes ----------------------------------------------------------------------------
    async def ensure_route(
        self, subsystem: str, owner: RuntimeName, fallback: RuntimeName | None
    ) -> Route:
        return await self._write_route(subsystem, owner, fallback, "ensure")

    async def set_route(
        self, subsystem: str, owner: RuntimeName, fallback: RuntimeName | None
    ) -> Route:
        return await self._write_route(subsystem, owner, fallback, "set")

    async def routes(self) -> list[Route]:
        (names,) = await self._run("register", f"{NAMESPACE}subsystems", "")
        subsystems = sorted(name.decode() for name in names)
        answers = await asyncio.gather(
            *(self._run("read", _prefix(subsystem)) for subsystem in subsystems)
        )
        found = (
            read_route(name, answer[1]) for name, answer in zip(subsystems, answers, strict=True)
        )
        return [route for route in found if route is not None]

    async def route_log(self, subsystem: str) -> list[Route]:
        log = await self._call(subsystem, "LRANGE", f"{_prefix(subsystem)}route:log", 0, -1)
        routes = (read_route(subsystem, line.split(b",")) for line in log)
        return [route for route in routes if route is not None]

    # -- events ----------------------------------------------------------------------------
    async def last_position(self, subsystem: str) -> str:
        last = await self._call(
            subsystem, "XREVRANGE", f"{_prefix(subsystem)}events", "+", "-", "COUNT", 1
        )
        return last[0][0].decode() if last else records.START

    async def events_after(
        self, subsystem: str, position: str, count: int = 500, wait_ms: int = 0
    ) -> list[Event]:
        order(position)
        stream = f"{_prefix(subsystem)}events"
        if wait_ms > 0:
            command = ("XREAD", "COUNT", count, "BLOCK", wait_ms, "STREAMS", stream, position)
            try:
                answer = await self._client.block(wait_ms, *command)
            except (NotSent, Unanswered, Rejected) as error:
                raise _unavailable(error) from None
            found = answer[0][1] if answer else []
        else:
            found = await self._call(
                subsystem, "XRANGE", stream, f"({position}", "+", "COUNT", count
            )
        return [records.read_event(at.decode(), subsystem, fields[1]) for at, fields in found]

    async def has_gap(self, subsystem: str, position: str) -> bool:
        if not is_position(position):
            return True
        return bool((await self._run("has_gap", _prefix(subsystem), position))[0])

    # -- outbox ----------------------------------------------------------------------------
    async def claim(
        self, subsystem: str, kinds: Sequence[str], count: int, lease_ms: int
    ) -> list[OutboxEntry]:
        token = self._new_token()
        answer = await self._run("claim", _prefix(subsystem), token, count, lease_ms, *kinds)
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

    async def complete(self, entry: OutboxEntry) -> bool:
        prefix = _prefix(entry.subsystem)
        return bool((await self._run("complete", prefix, entry.lane, entry.token))[0])

    async def fail(
        self, entry: OutboxEntry, error: str, retry_after_ms: int, max_attempts: int
    ) -> Verdict:
        answer = await self._run(
            "fail",
            _prefix(entry.subsystem),
            *(entry.lane, entry.token, entry.id, error, retry_after_ms, max_attempts),
        )
        return cast(Verdict, answer[0].decode())

    async def outbox(self, subsystem: str, limit: int = 100) -> list[OutboxEntry]:
        answer = await self._run("outbox", _prefix(subsystem), limit, *OUTBOX_KINDS)
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

    # -- deliveries ------------------------------------------------------------------------
    def deliveries(self, subsystem: str) -> Deliveries:
        return RedisDeliveries(self._client, _prefix(subsystem), subsystem, _unavailable)

    # -- timers ----------------------------------------------------------------------------
    async def due_timers(self, subsystem: str, count: int, lease_ms: int) -> list[Timer]:
        return read_timers(
            subsystem, await self._run("due_timers", _prefix(subsystem), count, lease_ms)
        )

    async def fail_timer(
        self, timer: Timer, error: str, retry_after_ms: int, max_attempts: int
    ) -> Verdict:
        member = records.timer_member(timer.key, timer.id)
        answer = await self._run(
            "fail_timer",
            _prefix(timer.subsystem),
            *(member, timer.set_by, error, retry_after_ms, max_attempts),
        )
        return cast(Verdict, answer[0].decode())

    async def timers(self, subsystem: str, limit: int = 100) -> list[Timer]:
        return read_timers(subsystem, await self._run("timers", _prefix(subsystem), limit))

    # -- dead letters ----------------------------------------------------------------------
    async def dead(self, subsystem: str, limit: int = 100) -> list[Dead]:
        answer = await self._run("dead", _prefix(subsystem), limit)
        return [read_dead(subsystem, *letter) for letter in groups(answer, 7)]

    async def redrive(self, subsystem: str, dead_id: str) -> bool:
        return bool((await self._run("redrive", _prefix(subsystem), dead_id))[0])

    # -- journal ---------------------------------------------------------------------------
    async def entries(
        self, subsystem: str, after: str = "", count: int = 500, key: str = ""
    ) -> list[tuple[str, dict[str, JSON]]]:
        position = after or records.START
        order(position)
        entries: list[tuple[str, dict[str, JSON]]] = []
        while len(entries) < count:
            together = SCAN_COUNT if key else min(SCAN_COUNT, count - len(entries))
            found = await self._call(
                subsystem,
                *("XRANGE", f"{_prefix(subsystem)}journal", f"({position}", "+"),
                *("COUNT", together),
            )
            for at, (_, text, _, entry_key, *_) in found:
                position = at.decode()
                if (not key or entry_key == key.encode()) and len(entries) < count:
                    entries.append((position, orjson.loads(text)))
            if len(found) < together:
                break
        return entries

    async def trim(self, subsystem: str, before: str) -> int:
        order(before)
        exported, count = await self._run("trim", _prefix(subsystem), "trim", before)
        if count < 0:
            raise trim_refused(before, exported.decode())
        return int(count)

    async def mark_exported(self, subsystem: str, position: str) -> None:
        order(position)
        await self._run("trim", _prefix(subsystem), "mark", position)

    async def keys(self, subsystem: str) -> list[str]:
        keys: set[str] = set()
        cursor = b"0"
        while True:
            cursor, found = await self._call(
                subsystem, "SSCAN", f"{_prefix(subsystem)}keys", cursor, "COUNT", SCAN_COUNT
            )
            keys.update(key.decode() for key in found)
            if cursor == b"0":
                return sorted(keys)

    async def close(self) -> None:
        await self._client.close()

    # -- inside ----------------------------------------------------------------------------
    async def _run(self, script: str, key: str, *arguments: Part) -> list[Any]:
        try:
            return await self._client.run(script, key, *arguments)
        except (NotSent, Unanswered, Rejected) as error:
            raise _unavailable(error) from None

    async def _call(self, subsystem: str, *command: Part) -> Any:
        return (await self._run("call", _prefix(subsystem), *command))[0]

    async def _read(self, subsystem: str, wanted: list[Wanted]) -> list[Any]:
        arguments = [part for read in wanted for part in read]
        return await self._client.run("read", _prefix(subsystem), *arguments)

    async def _write_route(
        self, subsystem: str, owner: RuntimeName, fallback: RuntimeName | None, how: str
    ) -> Route:
        await self._run("register", f"{NAMESPACE}subsystems", subsystem)
        answer = await self._run("route", _prefix(subsystem), owner, fallback or "", how)
        route = read_route(subsystem, answer[0])
        assert route is not None
        return route


def _prefix(subsystem: str) -> str:
    return f"{NAMESPACE}{{{subsystem}}}:"


def _snapshot(subsystem: str, raw: Raw) -> Snapshot:
    route = read_route(subsystem, raw.route)
    if route is None:
        raise BridgeError(
            "storage_unavailable",
            f"subsystem {subsystem} has no route, expected one since the start",
            subsystem=subsystem,
        )
    done = records.read_done(raw.done_id, raw.done) if raw.done_id and raw.done else None
    seq, message, at_ms, state = raw.state
    if seq is None or message is None or at_ms is None or state is None:
        return Snapshot(Version(), None, 0, raw.now_ms, route, done)
    version = Version(int(seq), message.decode())
    return Snapshot(version, orjson.loads(state), int(at_ms), raw.now_ms, route, done)


def _unavailable(error: Exception) -> BridgeError:
    if isinstance(error, Rejected) and error.code not in UNAVAILABLE:
        return BridgeError("internal", f"Redis refused: {error}")
    return BridgeError("storage_unavailable", f"Redis: {error}")
