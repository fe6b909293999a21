"""Implementations in TypeScript services, over Redis streams (CloudEvents 1.0 in JSON)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from redis.exceptions import ConnectionError as RedisConnectionError

from bridge.backoff import Backoff
from bridge.cloud_event import envelope
from bridge.errors import BridgeError, RuntimeUnavailable
from bridge.message import Invocation, Judge, Outcome, RuntimeName
from bridge.patience import Timeout
from bridge.redis.commands import Failures, connect
from bridge.redis.keys import SERVED, contract_of, prefix_of, presence_of, replies_to, requests_of
from bridge.rotation import Rotation
from bridge.runtimes.remote import outcome_of, request_of
from bridge.runtimes.runtime import unjudged

MAX_ENTRIES = 10_000
POLL_S = 1.0
# Longest wait for Redis before it counts as gone; a blocked read may take POLL_S more.
ANSWER_S = 1.0
# A poll older than this says nothing about who is there now.
STALE_S = 3.0
PAUSES_S = 0.05, 1.0

# Who holds a lease, behind whether the contract's digest was gone. That is put back, never over
# another worker's, which may be of a newer contract.
LIVE = """
local gone = redis.call('SET', KEYS[2], ARGV[1], 'NX') and 1 or 0
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
return {gone, unpack(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf'))}
"""
# Keeps the reply stream while its worker lives, drops what was read, tells where to read on:
# from the beginning of a stream whose ids are lower, for it was flushed and made again.
KEEP = """
if redis.call('EXISTS', KEYS[1]) == 0 then return '0-0' end
redis.call('PEXPIRE', KEYS[1], 60000)
local info, newest = redis.call('XINFO', 'STREAM', KEYS[1]), nil
for i = 1, #info, 2 do
  if info[i] == 'last-generated-id' then newest = info[i + 1] end
end
local ms, n = string.match(newest, '(%d+)-(%d+)')
local read_ms, read_n = string.match(ARGV[1], '(%d+)-(%d+)')
ms, n, read_ms, read_n = tonumber(ms), tonumber(n), tonumber(read_ms), tonumber(read_n)
if ms < read_ms or (ms == read_ms and n < read_n) then return '0-0' end
redis.call('XTRIM', KEYS[1], 'MINID', ARGV[1])
return ARGV[1]
"""


@dataclass(slots=True, eq=False)
class _Attempt:
    """One request under way. `event` and `sent_to`, who held a lease, are of its last sending."""

    id: str
    invocation: Invocation
    answer: asyncio.Future[Mapping[str, Any]]
    expires: float  # on the loop's clock
    event: bytes = b""
    sent_to: frozenset[str] = frozenset()


class TypeScriptRuntime:
    """Writes requests, reads replies, and follows who holds a lease.

    Call `start` before anything else and `close` at the end. Redis may go and come back
    meanwhile: while it is gone everything is RuntimeUnavailable, at once.
    """

    name: RuntimeName = "typescript"

    def __init__(
        self,
        redis_url: str,
        worker_id: str,
        digests: Mapping[str, str],
        *,
        max_in_flight: int = 1000,
    ) -> None:
        self._worker_id = worker_id
        self._digests = dict(digests)
        self._max_in_flight = max_in_flight
        self._replies = replies_to(worker_id)
        self._redis = connect(redis_url, f"bridge-{worker_id}", answer_s=ANSWER_S)
        self._blocking = connect(redis_url, f"bridge-{worker_id}", answer_s=POLL_S + ANSWER_S)
        self._read_to = "0-0"
        self._live: dict[str, frozenset[str]] = {}
        self._turn = Rotation(self._digests, POLL_S)
        self._served_to = "-inf"  # what began to be served before was seen
        self._flushed = True  # no digest may be there
        self._polled_at = float("-inf")
        self._attempts: dict[str, _Attempt] = {}
        self._builds: dict[str, str] = {}
        self._expected: dict[str, asyncio.Event] = {}
        self._unsent: list[_Attempt] = []
        self._unsent_some = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        # Beside the cancellation: redis-py may turn one into an error of the connection.
        self._closing = False

    async def start(self) -> None:
        """Write the contracts' digests, see who is there, and keep doing so until `close`."""
        if not self._digests:
            return
        pipeline = self._redis.pipeline(transaction=False)
        for name, digest in self._digests.items():
            pipeline.set(contract_of(name), digest)
        # Without Redis the polls write what is missing, once it is back.
        with contextlib.suppress(*Failures):
            await pipeline.execute()
            await self._poll_once()
        self._running = asyncio.create_task(self._run(), name="typescript runtime")

    async def close(self) -> None:
        self._closing = True
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        self._lose(list(self._attempts.values()), "this worker is stopping")
        for client in (self._redis, self._blocking):
            await client.aclose()

    def available(self, subsystem: str) -> bool:
        fresh = asyncio.get_running_loop().time() - self._polled_at < STALE_S
        return fresh and bool(self._live.get(subsystem))

    def builds(self) -> dict[str, str]:
        """Return the build that answered last, by subsystem."""
        return dict(self._builds)

    @property
    def replies(self) -> str:
        """Return the stream that this worker reads."""
        return self._replies

    async def told(self, id: str) -> None:
        """Wait until something with this id was told in the stream of replies."""
        self._expected[id] = asyncio.Event()
        try:
            await self._expected[id].wait()
        finally:
            del self._expected[id]

    async def handle(self, invocation: Invocation, judge: Judge = unjudged) -> Outcome:
        if not self.available(invocation.subsystem):
            raise RuntimeUnavailable(
                "typescript", f"no service implements {invocation.subsystem} now"
            )
        if len(self._attempts) >= self._max_in_flight:
            raise BridgeError(
                "overloaded",
                f"{len(self._attempts)} requests unanswered, limit is {self._max_in_flight}",
                queue="typescript requests",
                limit=self._max_in_flight,
            )
        loop = asyncio.get_running_loop()
        expires = loop.time() + invocation.timeout_ms / 1000
        attempt = _Attempt(str(uuid.uuid4()), invocation, loop.create_future(), expires)
        self._attempts[attempt.id] = attempt
        try:
            self._send(attempt)
            async with Timeout(expires):
                answer = await attempt.answer
        except TimeoutError:
            # The service ends a handler at its budget and says so: silence is the service's.
            text = f"no answer within {invocation.timeout_ms} ms"
            raise RuntimeUnavailable("typescript", text) from None
        finally:
            del self._attempts[attempt.id]
        build = str(answer.get("build") or "")[:64]
        if build:
            self._builds[invocation.subsystem] = build
        return judge(outcome_of("typescript", answer, build))

    # -- what runs from start to close -----------------------------------------------------
    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._write())
            group.create_task(self._read())
            group.create_task(self._poll())

    def _send(self, attempt: _Attempt) -> None:
        attempt.event = self._event(attempt)
        attempt.sent_to = self._live.get(attempt.invocation.subsystem, frozenset())
        self._unsent.append(attempt)
        self._unsent_some.set()

    async def _write(self) -> None:
        """Join what was asked since the last write into one pipeline."""
        while not self._closing:
            await self._unsent_some.wait()
            self._unsent_some.clear()
            asked, self._unsent = self._unsent, []
            batch = [attempt for attempt in asked if attempt.id in self._attempts]
            try:
                results = await self._write_batch(batch)
            except Failures as error:
                self._lose(batch, _gone(error), redis=True)
                continue
            for attempt, result in zip(batch, results, strict=True):
                if isinstance(result, Exception):
                    key = requests_of(attempt.invocation.subsystem)
                    why = f"Redis refused the request in {key}: {result}"
                    self._lose([attempt], why, redis=True)
                    await self._note(attempt.invocation.subsystem, f"stream {key}", result)

    async def _write_batch(self, batch: list[_Attempt]) -> list[Any]:
        try:
            return await self._add(batch)
        except RedisConnectionError:
            # The pool's connection may be of a Redis that has restarted since. Handlers are
            # functions: to ask twice is harmless.
            return await self._add(batch)

    async def _add(self, batch: list[_Attempt]) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        for attempt in batch:
            pipeline.xadd(
                requests_of(attempt.invocation.subsystem),
                {"event": attempt.event},
                maxlen=MAX_ENTRIES,
                approximate=True,
            )
        return await pipeline.execute(raise_on_error=False)

    def _event(self, attempt: _Attempt) -> bytes:
        invocation = attempt.invocation
        left_s = attempt.expires - asyncio.get_running_loop().time()
        event = envelope(
            id=attempt.id,
            source=f"/bridge/{self._worker_id}",
            type="bridge.invocation",
            subject=invocation.key,
            time_ms=time.time_ns() // 1_000_000,
            data=request_of(invocation),
            replyto=self._replies,
            timeoutms=max(1, int(left_s * 1000)),
        )
        return orjson.dumps(event)

    async def _read(self) -> None:
        pauses = Backoff(*PAUSES_S)
        while not self._closing:
            try:
                found: Any = await self._blocking.xread(
                    {self._replies: self._read_to}, count=500, block=int(POLL_S * 1000)
                )
            except Failures as error:
                self._lose(list(self._attempts.values()), _gone(error), redis=True)
                self._polled_at = float("-inf")
                await asyncio.sleep(pauses.failed())
                continue
            pauses.over()
            for _, entries in found:
                for entry_id, fields in entries:
                    self._read_to = entry_id.decode()
                    self._settle(fields.get(b"event", b""))

    def _settle(self, event: bytes) -> None:
        """Hand an answer to who waits for it; late and repeated ones have nobody."""
        try:
            data = _read(event)["data"]
            if (expected := self._expected.get(data["invocation"])) is not None:
                expected.set()
            attempt = self._attempts.get(data["invocation"])
        except (ValueError, LookupError, TypeError, RecursionError):
            return
        if attempt is not None and not attempt.answer.done():
            attempt.answer.set_result(data)

    async def _poll(self) -> None:
        while not self._closing:
            await asyncio.sleep(POLL_S)
            await self._poll_once()

    async def _poll_once(self) -> None:
        """See who holds a lease now, and ask again what was asked of who is gone.

        Of what nobody served, only what a service says that it serves now, and some in turn.
        """
        read_to = self._read_to
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.eval(KEEP, 1, self._replies, read_to)
        pipeline.zrangebyscore(SERVED, self._served_to, "+inf", withscores=True)
        try:
            read_on, served = await pipeline.execute(raise_on_error=False)
            if isinstance(served, Exception):  # a key of another type: all are seen in turn
                served = []
            named = {name.decode(errors="replace") for name, _ in served}
            known = {name for name, live in self._live.items() if live}
            wanted = {*self._digests} if self._flushed else {*self._turn.next(), *known, *named}
            await self._see(sorted(wanted & self._digests.keys()))
        except Failures:
            return
        self._polled_at = asyncio.get_running_loop().time()
        if served and not self._flushed:
            self._served_to = str(max(at for _, at in served))
        if read_to == self._read_to and isinstance(read_on, bytes):
            self._read_to = read_on.decode()
        for attempt in list(self._attempts.values()):
            there = self._live.get(attempt.invocation.subsystem, frozenset())
            if not there:
                self._lose([attempt], "the service is gone")
            elif not attempt.sent_to <= there and attempt not in self._unsent:
                self._send(attempt)

    async def _see(self, names: list[str]) -> None:
        """Read who serves these subsystems. Raises what Redis or the connection did."""
        pipeline = self._redis.pipeline(transaction=False)
        for name in names:
            pipeline.eval(LIVE, 2, presence_of(name), contract_of(name), self._digests[name])
        flushed = False
        for name, found in zip(names, await pipeline.execute(raise_on_error=False), strict=True):
            # An error: its key is of a wrong type. That is no reason to leave the others.
            if isinstance(found, Exception):
                self._live[name] = frozenset()
                await self._note(name, f"zset {presence_of(name)}", found)
            else:
                gone, *members = found
                flushed = flushed or bool(gone)
                self._live[name] = _consumers(members, self._digests[name])
        self._flushed = flushed
        if flushed:
            self._served_to = "-inf"

    async def _note(self, subsystem: str, what: str, error: Exception) -> None:
        """Note a key of another type where `journal/lua/prelude.lua` does."""
        if "WRONGTYPE" in str(error):
            with contextlib.suppress(*Failures):
                await self._redis.sadd(f"{prefix_of(subsystem)}damaged", what)

    def _lose(self, attempts: list[_Attempt], why: str, *, redis: bool = False) -> None:
        for attempt in attempts:
            if not attempt.answer.done():
                lost = RuntimeUnavailable("typescript", why, shared=redis)
                attempt.answer.set_exception(lost)


def _consumers(members: list[bytes], digest: str) -> frozenset[str]:
    """Keep the consumers whose contract is ours; members are `<consumer> <digest>`."""
    found = (member.decode(errors="replace").rpartition(" ") for member in members)
    return frozenset(consumer for consumer, _, theirs in found if theirs == digest)


def _read(event: bytes) -> Any:
    """Read JSON; also what is not JSON of ours: who waits is told when it is judged."""
    try:
        return orjson.loads(event)
    except ValueError:
        return json.loads(event)


def _gone(error: Exception) -> str:
    return f"Redis does not answer: {error or type(error).__name__}"
