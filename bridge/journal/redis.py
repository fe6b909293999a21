"""The journal in Redis: each method is one script, each script one step."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any, Literal

import orjson

from bridge.backoff import Backoff
from bridge.canonical import canonical
from bridge.errors import BridgeError
from bridge.journal import records
from bridge.journal.mending import mend
from bridge.journal.positions import (
    in_stream,
    is_position,
    just_before,
    named,
    order,
    states_gone,
    trim_refused,
)
from bridge.journal.reads import Raw, Reads, Wanted
from bridge.journal.redis_attempts import RedisAttempts
from bridge.journal.redis_deliveries import RedisDeliveries
from bridge.journal.redis_moves import RedisMoves
from bridge.journal.redis_outbox import RedisOutbox, unavailable
from bridge.journal.redis_presence import RedisPresence
from bridge.journal.redis_storage import RedisStorage
from bridge.journal.redis_targets import RedisTargets
from bridge.journal.redis_workers import RedisWorkers
from bridge.journal.store import Deliveries
from bridge.journal.values import (
    Commit,
    Committed,
    Damaged,
    Event,
    PositionGone,
    Route,
    Same,
    Snapshot,
    Storage,
)
from bridge.journal.wire import (
    commit_arguments,
    groups,
    read_base,
    read_committed,
    read_journal,
    read_route,
    read_route_log,
    whole_of,
)
from bridge.message import JSON, RuntimeName, Version
from bridge.redis.client import Client
from bridge.redis.connection import NotSent, Part, Rejected, Unanswered
from bridge.redis.keys import SUBSYSTEMS, prefix_of
from bridge.redis.refusals import UNAVAILABLE

Verdict = Literal["retried", "dead", "lost"]

PAUSES_S = 0.01, 0.5  # before a commit without answer is repeated
SCAN_COUNT = 1000
PAGE = 500  # entries read at once
CHAIN_COUNT = 100  # entries of a key read in one script call
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
        self._looked: dict[str, tuple[str, int]] = {}
        self.targets = RedisTargets(client)
        self.attempts = RedisAttempts(client)
        self.moves = RedisMoves(client, self.storage)
        self.workers = RedisWorkers(client)
        self.presence = RedisPresence(client, events_keep, unavailable)

    # -- messages --------------------------------------------------------------------------
    async def read(
        self, subsystem: str, key: str, message_id: str = "", idempotency: str = ""
    ) -> Snapshot:
        try:
            return await self._reads.ask(subsystem, Wanted(key, message_id, idempotency))
        except (NotSent, Unanswered, Rejected) as error:
            raise unavailable(error) from None

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
        pauses = Backoff(*PAUSES_S)
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
            await asyncio.sleep(min(pauses.failed(), left_s))

    # -- routes ----------------------------------------------------------------------------
    async def ensure_route(
        self, subsystem: str, owner: RuntimeName, fallback: RuntimeName | None
    ) -> Route:
        return await self._write_route(subsystem, owner, fallback, "ensure")

    async def set_route(
        self,
        subsystem: str,
        owner: RuntimeName,
        fallback: RuntimeName | None,
        *,
        by: str = "",
        why: str = "",
    ) -> Route:
        return await self._write_route(subsystem, owner, fallback, "set", by, why)

    async def renew_route(self, subsystem: str) -> Route:
        return await self._write_route(subsystem, "python", None, "again")

    async def routes(self) -> list[Route]:
        found = await asyncio.gather(*map(self.route, await self.subsystems()))
        return [route for route in found if route is not None]

    async def subsystems(self) -> list[str]:
        """Return the names of all there ever were, also of those whose route is damaged."""
        (names,) = await self._run("register", SUBSYSTEMS, "")
        return sorted(name.decode() for name in names)

    async def route(self, subsystem: str) -> Route | None:
        """Return a subsystem's route; None if there is none, or it cannot be read."""
        try:
            return read_route(subsystem, (await self._run("read", prefix_of(subsystem)))[1])
        except Damaged:  # it is nobody's until that is put right; all others are
            return None

    async def route_log(self, subsystem: str) -> list[Route]:
        log = await self._call(subsystem, "LRANGE", f"{prefix_of(subsystem)}route:log", 0, -1)
        routes = (read_route_log(subsystem, line) for line in log)
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
            prefix = prefix_of(subsystem)
            try:
                found = await self._client.arrivals.after(prefix, stream, after, count, wait_ms)
            except (NotSent, Unanswered, Rejected) as error:
                raise unavailable(error) from None
        else:
            found = await self._call(
                subsystem, "XRANGE", stream, f"({after}", "+", "COUNT", count
            )
        if not found and wait_ms > 0 and self._is_looked_at(subsystem, storage):
            return []
        # Looked at afterwards: what was read is of this storage if it still is the same.
        if await self._gap(subsystem, storage, after) == GONE:
            raise PositionGone(f"{subsystem}: {position}")
        # Until there is another connection or storage, nothing can be gone where nothing came.
        self._looked[subsystem] = (self.storage.id, self._client.made)
        return [self._event(subsystem, at.decode(), *fields) for at, fields in found]

    def _is_looked_at(self, subsystem: str, storage: str) -> bool:
        looked = self._looked.get(subsystem)
        return looked == (storage, self._client.made) and storage == self.storage.id

    def _event(self, subsystem: str, at: str, kind: bytes, *texts: bytes) -> Event:
        position = named(self.storage.id, at)
        if kind == b"presence":
            key, _, diff = texts
            return records.presence_event(position, order(at)[0], subsystem, key.decode(), diff)
        return records.read_event(position, subsystem, texts[0])

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
        if key:
            chain = await self._chain(subsystem, key, after=position, count=count)
            return [read_journal(row) for row in reversed(chain)]
        found: list[tuple[str, dict[str, JSON]]] = []
        while len(found) < count:
            together = min(SCAN_COUNT, count - len(found))
            rows = await self._rows(subsystem, position, together)
            found += map(read_journal, rows)
            if len(rows) < together:
                break
            position = found[-1][0]
        return found

    async def states(self, subsystem: str, position: str) -> tuple[JSON | None, JSON]:
        order(position)
        chain = await self._states_chain(subsystem, position)
        before, state = records.states_of(chain)
        if len(chain) == 1 and chain[0]["before"]:
            before = records.states_of(await self._states_chain(subsystem, chain[0]["before"]))[1]
        return before, state

    async def recent(self, subsystem: str, count: int) -> list[int]:
        found = await self._run("recent", prefix_of(subsystem), count)
        return [int(at.partition(b"-")[0]) for at in found]

    async def entry_of(
        self, subsystem: str, message_id: str
    ) -> tuple[str, dict[str, JSON]] | None:
        """Return a message's entry and its position, looked for from the end; None if there is
        none.
        """
        mark, last = orjson.dumps(message_id), "+"
        while True:
            found = await self._call(
                subsystem,
                *("XREVRANGE", f"{prefix_of(subsystem)}journal", last, "-", "COUNT", SCAN_COUNT),
            )
            for row in found:
                if mark in row[1][1] and (entry := read_journal(row))[1]["id"] == message_id:
                    return entry
            if len(found) < SCAN_COUNT:
                return None
            last = f"({found[-1][0].decode()}"

    async def trim(self, subsystem: str, before: str) -> int:
        order(before)
        await self._trim(subsystem, "begin", before)
        last = await self._behind_whole_states(subsystem, before)
        dropped = 0
        while count := await self._trim(subsystem, "step", last):
            dropped += count
        return dropped

    async def mark_exported(self, subsystem: str, position: str) -> None:
        order(position)
        await self._trim(subsystem, "mark", position)

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

    async def damaged(self, subsystem: str) -> list[Damaged]:
        """Return the keys that were met and still hold another type than they should."""
        found = groups(await self._run("damaged", prefix_of(subsystem)), 3)
        return [Damaged(*(part.decode() for part in each)) for each in found]

    async def mend(self, subsystem: str, key: str, same: Callable[[str, JSON], Same]) -> str:
        """End a commit that ended half way; return what was done.

        `same` is the contract's: what makes an operation's request the same one again.
        """
        try:
            done = await mend(self._client, self.arguments_of, self.states, subsystem, key, same)
        except (NotSent, Unanswered, Rejected) as error:
            raise unavailable(error) from None
        await self.share(subsystem)
        return done

    async def close(self) -> None:
        self.storage.close()
        await self._client.close()

    # -- inside ----------------------------------------------------------------------------
    async def _rows(self, subsystem: str, position: str, count: int) -> list[Any]:
        rows: list[Any] = await self._call(
            subsystem,
            *("XRANGE", f"{prefix_of(subsystem)}journal", f"({position}", "+"),
            *("COUNT", count),
        )
        return rows

    async def _chain(
        self, subsystem: str, key: str, position: str = "", after: str = "", count: int = PAGE
    ) -> deque[Any]:
        """Return the oldest entries of a key, the newest of them first; without `after` those
        back to a whole state.
        """
        rows: deque[Any] = deque(maxlen=count)
        while True:
            more, *found = await self._run(
                "chain", prefix_of(subsystem), key, position, after, CHAIN_COUNT
            )
            rows += found
            if not more:
                return rows
            position = more.decode()

    async def _states_chain(self, subsystem: str, position: str) -> list[dict[str, JSON]]:
        rows = await self._chain(subsystem, "", position)
        if not rows or whole_of(rows[-1]):
            raise states_gone(subsystem, position)
        return [read_journal(row)[1] for row in rows]

    async def _trim(self, subsystem: str, operation: str, position: str) -> int:
        exported, count = await self._run("trim", prefix_of(subsystem), operation, position)
        if count < 0:
            raise trim_refused(position, exported.decode())
        return int(count)

    async def _behind_whole_states(self, subsystem: str, before: str) -> str:
        """Return the position up to which no entry from `before` on builds on a state."""
        last, at = before, just_before(before)
        latest_ms = order(before)[0] + records.WHOLE_AFTER_MS + records.WHOLE_SLACK_MS
        while rows := await self._rows(subsystem, at, PAGE):
            last = min([last, *filter(None, map(whole_of, rows))], key=order)
            at = rows[-1][0].decode()
            if order(at)[0] > latest_ms:
                break
        return last

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
        now_ms, fields, *found = await self._client.run("read", prefix_of(subsystem), *arguments)
        route = read_route(subsystem, fields)
        if not self.storage.is_known(fields[4]) or route is None:
            raise BridgeError(
                "storage_unavailable",
                f"the storage is another one than before, or subsystem {subsystem} has no route "
                "there: this worker looks at it first",
                subsystem=subsystem,
            )
        return [now_ms, route, *found]

    @staticmethod
    def _snapshot(raw: Raw) -> Snapshot:
        now_ms, route = raw.now_ms, raw.route
        done = records.read_done(raw.done_id, raw.done) if raw.done_id and raw.done else None
        seq, message, at_ms, state, whole, whole_seq, contract = raw.state
        if seq is None or message is None or at_ms is None or state is None:
            return Snapshot(Version(), None, 0, now_ms, route, done)
        version, value = Version(int(seq), message.decode()), orjson.loads(state)
        base = read_base(value, whole, whole_seq, now_ms)
        # Without one it is from before versions were kept: all contracts had their first.
        written = int(contract or 1)
        return Snapshot(version, value, int(at_ms), now_ms, route, done, written, base)

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
        self,
        subsystem: str,
        owner: RuntimeName,
        fallback: RuntimeName | None,
        how: str,
        by: str = "",
        why: str = "",
    ) -> Route:
        storage = await self.storage.recognise()
        await self._run("register", SUBSYSTEMS, subsystem)
        entry = canonical(records.route_entry(owner, by, why))
        answer = await self._run(
            "route", prefix_of(subsystem), owner, fallback or "", how, storage.id, entry
        )
        route = read_route(subsystem, answer[0])
        assert route is not None
        if answer[1]:
            raise records.move_runs(route)
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
