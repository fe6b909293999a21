"""The journal in Redis: each method is one script, each script one step."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable
from typing import Any, Literal

import orjson

from bridge.errors import BridgeError
from bridge.journal import records
from bridge.journal.client import Client
from bridge.journal.connection import NotSent, Part, Rejected, Unanswered
from bridge.journal.keys import SUBSYSTEMS, prefix_of
from bridge.journal.mending import mend
from bridge.journal.positions import in_stream, is_position, named, order, trim_refused
from bridge.journal.reads import Raw, Reads, Wanted
from bridge.journal.redis_deliveries import RedisDeliveries
from bridge.journal.redis_outbox import RedisOutbox, unavailable
from bridge.journal.redis_storage import RedisStorage
from bridge.journal.redis_targets import RedisTargets
from bridge.journal.refusals import UNAVAILABLE
from bridge.journal.store import (
    Commit,
    Committed,
    Deliveries,
    Event,
    PositionGone,
    Route,
    Same,
    Snapshot,
    Storage,
)
from bridge.journal.wire import (
    commit_arguments,
    read_committed,
    read_route,
)
from bridge.message import JSON, RuntimeName, Version

Verdict = Literal["retried", "dead", "lost"]

FIRST_PAUSE_S = 0.01  # before a commit without answer is repeated; doubles up to ...
LONGEST_PAUSE_S = 0.5
SCAN_COUNT = 1000
NO_GAP, GONE = 0, 2  # what has_gap.lua answers
CLAIM_BYTES = 262_144  # of effects leased at once; a larger one is leased alone


def new_token() -> str:
    return uuid.uuid4().hex


class RedisJournal(RedisOutbox):
    """Keep the journal in one Redis primary.

    `timeout_ms` bounds every wait for Redis; `new_token` makes the tokens of claims and the ids
    of storages; what the subsystems `delivering` emit is also kept for their outlet. `replaced`
    is called when the storage is another one than it was, or has lost what this journal was told
    is kept; from then on it is that one's journal. Use it in one event loop, and close it there.
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
        replaced: Callable[[Storage], None] = lambda storage: None,
    ) -> None:
        client = Client(url, timeout_ms, lambda connection: self.storage.greet(connection))
        super().__init__(client, new_token)
        self.storage = RedisStorage(client, unavailable, new_token, replaced, self.adopt_routes)
        self._reads = Reads(self._read, self._snapshot)
        self._done_ttl_ms = done_ttl_ms
        self._events_keep = events_keep
        self._delivering = delivering
        self.targets = RedisTargets(client)

    # -- messages --------------------------------------------------------------------------
    async def read(
        self, subsystem: str, key: str, message_id: str = "", idempotency: str = ""
    ) -> Snapshot:
        try:
            return await self._reads.ask(subsystem, Wanted(key, message_id, idempotency))
        except (NotSent, Unanswered, Rejected) as error:
            raise unavailable(error, f" {subsystem}:{key}") from None

    async def commit(self, commit: Commit, timeout_ms: int) -> Committed:
        if timeout_ms <= 0:
            raise BridgeError(
                "deadline_exceeded",
                f"message {commit.message_id} has {timeout_ms} ms left, nothing was sent",
                message_id=commit.message_id,
            )
        arguments = self.arguments_of(commit)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_ms / 1000
        pause_s = FIRST_PAUSE_S
        sent = False
        while True:
            try:
                answer = await self._client.run(
                    "commit", prefix_of(commit.subsystem), *arguments, deadline=deadline
                )
                if answer[0] == b"unfinished":
                    raise _unfinished(commit.subsystem, commit.key, answer[1].decode())
                if answer[0] == b"committed":
                    self.storage.acknowledged(commit.subsystem, answer[1].decode())
                return read_committed(commit, answer)
            except Unanswered:
                sent = True
            except Rejected as error:
                await self._look_at(commit, error)
                if not sent:
                    raise unavailable(error) from None
            except NotSent as error:
                if not sent:
                    raise unavailable(error) from None
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
        (names,) = await self._run("register", SUBSYSTEMS, "")
        subsystems = sorted(name.decode() for name in names)
        answers = await asyncio.gather(
            *(self._run("read", prefix_of(subsystem)) for subsystem in subsystems)
        )
        found = (
            read_route(name, answer[1]) for name, answer in zip(subsystems, answers, strict=True)
        )
        return [route for route in found if route is not None]

    async def route_log(self, subsystem: str) -> list[Route]:
        log = await self._call(subsystem, "LRANGE", f"{prefix_of(subsystem)}route:log", 0, -1)
        routes = (read_route(subsystem, line.split(b",")) for line in log)
        return [route for route in routes if route is not None]

    # -- events ----------------------------------------------------------------------------
    async def last_position(self, subsystem: str) -> str:
        last = await self._call(
            subsystem, "XREVRANGE", f"{prefix_of(subsystem)}events", "+", "-", "COUNT", 1
        )
        return named(self.storage.id, last[0][0].decode() if last else records.START)

    async def events_after(
        self, subsystem: str, position: str, count: int = 500, wait_ms: int = 0
    ) -> list[Event]:
        order(position)
        storage, after = in_stream(position)
        stream = f"{prefix_of(subsystem)}events"
        if wait_ms > 0:
            command = ("XREAD", "COUNT", count, "BLOCK", wait_ms, "STREAMS", stream, after)
            try:
                answer = await self._client.block(wait_ms, *command)
            except (NotSent, Unanswered, Rejected) as error:
                raise unavailable(error) from None
            found = answer[0][1] if answer else []
        else:
            found = await self._call(
                subsystem, "XRANGE", stream, f"({after}", "+", "COUNT", count
            )
        # Looked at afterwards: what was read is of this storage if it still is the same.
        if await self._gap(subsystem, storage, after) == GONE:
            raise PositionGone(f"{subsystem}: {position}")
        return [
            records.read_event(named(self.storage.id, at.decode()), subsystem, fields[1])
            for at, fields in found
        ]

    async def has_gap(self, subsystem: str, position: str) -> bool:
        return (
            not is_position(position)
            or await self._gap(subsystem, *in_stream(position)) != NO_GAP
        )

    async def _gap(self, subsystem: str, storage: str, after: str) -> int:
        seen, gap = await self._run("has_gap", prefix_of(subsystem), after)
        if not self.storage.is_known(seen) or storage not in ("", self.storage.id):
            return GONE
        return int(gap)

    # -- deliveries ------------------------------------------------------------------------
    def deliveries(self, subsystem: str) -> Deliveries:
        return RedisDeliveries(self._client, prefix_of(subsystem), subsystem, unavailable)

    async def now_ms(self) -> int:
        """Return Redis's time."""
        seconds, microseconds = await self._call("", "TIME")
        return int(seconds) * 1000 + int(microseconds) // 1000

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
                *("XRANGE", f"{prefix_of(subsystem)}journal", f"({position}", "+"),
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
        exported, count = await self._run("trim", prefix_of(subsystem), "trim", before)
        if count < 0:
            raise trim_refused(before, exported.decode())
        return int(count)

    async def mark_exported(self, subsystem: str, position: str) -> None:
        order(position)
        await self._run("trim", prefix_of(subsystem), "mark", position)

    async def keys(self, subsystem: str) -> list[str]:
        keys: set[str] = set()
        cursor = b"0"
        while True:
            cursor, found = await self._call(
                subsystem, "SSCAN", f"{prefix_of(subsystem)}keys", cursor, "COUNT", SCAN_COUNT
            )
            keys.update(key.decode() for key in found)
            if cursor == b"0":
                return sorted(keys)

    async def unfinished(self, subsystem: str) -> list[str]:
        """Return the keys that were set aside: a commit of theirs ended half way."""
        _, keys = await self._run("unfinished", prefix_of(subsystem))
        return sorted(key.decode() for key in keys)

    async def mend(self, subsystem: str, key: str, same: Callable[[str, JSON], Same]) -> str:
        """End a commit that ended half way; return what was done.

        `same` is the contract's: what makes an operation's request the same one again.
        """
        try:
            return await mend(self._client, self.arguments_of, subsystem, key, same)
        except (NotSent, Unanswered, Rejected) as error:
            raise unavailable(error) from None

    async def close(self) -> None:
        self.storage.close()
        await self._client.close()

    # -- inside ----------------------------------------------------------------------------
    def arguments_of(self, commit: Commit, mended: str = "") -> list[Part]:
        return commit_arguments(
            commit,
            self._done_ttl_ms,
            self._events_keep,
            delivering=commit.subsystem in self._delivering,
            storage=self.storage.id,
            mended=mended,
        )

    async def adopt_routes(self) -> None:
        """Tell each subsystem which storage it is in."""
        for route in await self.routes():
            await self.ensure_route(route.subsystem, route.owner, route.fallback)

    async def _read(self, subsystem: str, wanted: list[Wanted]) -> list[Any]:
        arguments = [part for read in wanted for part in read]
        return await self._client.run("read", prefix_of(subsystem), *arguments)

    def _snapshot(self, subsystem: str, raw: Raw) -> Snapshot:
        route = read_route(subsystem, raw.route)
        if not self.storage.is_known(raw.route[4]) or route is None:
            raise BridgeError(
                "storage_unavailable",
                f"the storage is another one than before, or subsystem {subsystem} has no route "
                "there: this worker looks at it first",
                subsystem=subsystem,
            )
        done = records.read_done(raw.done_id, raw.done) if raw.done_id and raw.done else None
        seq, message, at_ms, state, contract = raw.state
        if seq is None or message is None or at_ms is None or state is None:
            return Snapshot(Version(), None, 0, raw.now_ms, route, done)
        version = Version(int(seq), message.decode())
        # Without one it is from before versions were kept: all contracts had their first.
        written = int(contract or 1)
        return Snapshot(
            version, orjson.loads(state), int(at_ms), raw.now_ms, route, done, written
        )

    async def _look_at(self, commit: Commit, error: Rejected) -> None:
        """After an error that stands for nothing else: see whether its commit ended half way."""
        if error.code in UNAVAILABLE:
            return
        with contextlib.suppress(NotSent, Unanswered, Rejected):
            answer = await self._client.run(
                "unfinished", prefix_of(commit.subsystem), commit.key, ""
            )
            if answer[0]:
                raise _unfinished(commit.subsystem, commit.key, answer[0].decode()) from None

    async def _write_route(
        self, subsystem: str, owner: RuntimeName, fallback: RuntimeName | None, how: str
    ) -> Route:
        storage = await self.storage.recognise()
        await self._run("register", SUBSYSTEMS, subsystem)
        answer = await self._run(
            "route", prefix_of(subsystem), owner, fallback or "", how, storage.id
        )
        route = read_route(subsystem, answer[0])
        assert route is not None
        return route


def _unfinished(subsystem: str, key: str, message_id: str) -> BridgeError:
    return BridgeError(
        "storage_unavailable",
        f"{subsystem}:{key} is set aside: the commit of {message_id} ended half way; "
        f"`bridge journal mend {subsystem}` ends it",
        subsystem=subsystem,
        key=key,
        message_id=message_id,
    )
