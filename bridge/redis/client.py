"""The journal's way to Redis: one shared connection for scripts, others for blocking reads."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.backoff import Backoff
from bridge.patience import Timeout
from bridge.redis.address import Address
from bridge.redis.arrivals import Arrivals
from bridge.redis.connection import Connection, NotSent, Part, Rejected, Unanswered, connect
from bridge.redis.keys import SCRATCH
from bridge.redis.refusals import Refused, is_refusal, refused_of

MAX_PENDING = 10_000
MAX_IDLE = 4  # blocking connections kept for the next call
PAUSES_S = 0.02, 1.0  # between attempts to connect
TRY_AGAIN_S = 0.25  # before what was refused is tried again
SCRIPTS = Path(__file__).parents[1] / "journal" / "lua"
# Scripts that leave everything as it is, and those that have nothing to leave half done. All
# others wait until every command was tried on the connection.
UNTRIED = frozenset(
    (
        *(
            "call",
            "dead",
            "deliveries",
            "due",
            "has_gap",
            "look",
            "outbox",
            "read",
            "recent",
            "tally",
        ),
        *("probe", "storage", "timers", "workers"),
    )
)


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script with the prelude before it."""

    source: bytes
    sha: str


def load_scripts(folder: Path = SCRIPTS) -> dict[str, Script]:
    """Read `*.lua`; the names are the files' without ending."""
    prelude = (folder / "prelude.lua").read_bytes()
    scripts = {}
    for path in sorted(folder.glob("*.lua")):
        source = prelude + b"\n" + path.read_bytes()
        scripts[path.stem] = Script(source, hashlib.sha1(source).hexdigest())
    return scripts


class Client:
    """Run scripts on one shared connection, made when it is needed and again when it broke.

    All callers wait for the same attempt to connect. After a failed one the next starts after a
    pause; a call within the pause raises NotSent at once. `greet` is given each new connection
    before anybody else may use it. Scripts that write run on a connection only once every command
    they use was tried there on scratch keys, and again after each refusal.
    """

    def __init__(
        self,
        url: str,
        timeout_ms: int,
        greet: Callable[[Connection], Awaitable[None]] | None = None,
    ) -> None:
        self._address = Address.parse(url)
        self._timeout_s = timeout_ms / 1000
        self._greet = greet
        self._scripts = load_scripts()
        self._tags = itertools.count(1)
        self._shared: Connection | None = None
        self._connecting: asyncio.Task[Connection] | None = None
        self._allowed: Connection | None = None  # where every command was tried
        self._trying: asyncio.Task[None] | None = None
        self._try_not_before = 0.0
        self._refused: Refused | None = None
        self._idle: list[Connection] = []
        self._lent: set[Connection] = set()
        self.made = 0  # connections, so far
        self.arrivals = Arrivals(self._read_streams, self._damaged)
        self._pauses = Backoff(*PAUSES_S)
        self._not_before = 0.0
        self._closed = False

    @property
    def refused(self) -> str:
        """Say what Redis refused when it was tried last, '' if nothing."""
        return str(self._refused or "")

    async def run(
        self, script: str, key: str, *arguments: Part, deadline: float | None = None
    ) -> list[Any]:
        """Run a script on KEYS[1] `key`; return its answer without the tag.

        `deadline` is in the loop's time. Raises NotSent, Unanswered or Rejected; of the latter
        Refused means that nothing was written.
        """
        connection = self._shared
        if connection is None or connection.closed:
            connection = await self._connected(deadline)
        if connection is not self._allowed and script not in UNTRIED:
            await self._tried(connection, deadline)
        try:
            return await self.run_on(connection, script, key, *arguments, deadline=deadline)
        except Rejected as error:
            if script in UNTRIED or not is_refusal(error):
                raise
            self._allowed = None
            if error.code in ("READONLY", "MASTERDOWN"):
                # After a failover the address may lead to the new primary.
                connection.close(str(error))
            else:
                await self._tried(connection, deadline)  # it tells what is refused
            raise Refused(self._address, str(error)) from None

    async def run_on(
        self,
        connection: Connection,
        script: str,
        key: str,
        *arguments: Part,
        deadline: float | None = None,
    ) -> list[Any]:
        """Run a script on this connection, tried or not."""
        tag = b"%d" % next(self._tags)
        source = self._scripts[script]
        try:
            answer: list[Any] = await _until(
                deadline, connection.send("EVALSHA", source.sha, 1, key, tag, *arguments, tag=tag)
            )
        except Rejected as error:
            if error.code != "NOSCRIPT":
                raise
            answer = await _until(
                deadline,
                connection.send("EVAL", source.source, 1, key, tag, *arguments, tag=tag),
            )
        del answer[0]
        return answer

    async def call(self, key: str, *command: Part) -> Any:
        """Run one command on the shared connection."""
        return (await self.run("call", key, *command))[0]

    async def has_some(self, prefix: str, stream: str, wait_ms: int) -> bool:
        """Say whether a stream has an entry, waiting so long for one."""
        try:
            return bool(await self._read_streams({stream: "0-0"}, 1, wait_ms))
        except Rejected as error:
            if error.code == "WRONGTYPE":
                await self._damaged(prefix, stream)
            raise

    async def _damaged(self, prefix: str, stream: str) -> None:
        await self.call(prefix, "XLEN", stream)  # says which key is of what type

    async def _read_streams(
        self, after: dict[str, str], count: int, block_ms: int
    ) -> dict[str, list[Any]]:
        """Read streams on a connection that nobody else uses meanwhile.

        A cancelled call drops it, and with it the command that waits in Redis.
        """
        connection = self._idle.pop() if self._idle else None
        if connection is None or connection.closed:
            connection = await self._connect()
        self._lent.add(connection)
        try:
            answer = await connection.send(
                *("XREAD", "COUNT", count, "BLOCK", block_ms, "STREAMS"),
                *(*after, *after.values()),
                timeout_s=block_ms / 1000 + self._timeout_s,
            )
        except Rejected:
            raise  # it is as good as before
        except BaseException:
            connection.close()
            raise
        finally:
            self._lent.discard(connection)
            if len(self._idle) < MAX_IDLE and not self._closed and not connection.closed:
                self._idle.append(connection)
            else:
                connection.close()
        return {stream.decode(): entries for stream, entries in answer or ()}

    async def close(self) -> None:
        """Cut every connection: who waits for an answer gets Unanswered."""
        self._closed = True
        for connection in (self._shared, *self._idle, *self._lent):
            if connection is not None:
                connection.close("the journal was closed")
        self._idle.clear()
        await self.arrivals.close(Unanswered("the journal was closed"))
        under_way = [task for task in (self._connecting, self._trying) if task is not None]
        if under_way:
            await asyncio.wait(under_way)

    async def _tried(self, connection: Connection, deadline: float | None) -> None:
        """Wait until every command was tried; raises Refused."""
        if self._trying is None:
            loop = asyncio.get_running_loop()
            if self._refused is not None and loop.time() < self._try_not_before:
                raise self._refused
            self._trying = loop.create_task(self._try(connection))
            self._trying.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            await _until(deadline, asyncio.shield(self._trying))
        except Unanswered as error:
            raise NotSent(f"{self._address}: {error}") from None

    async def _try(self, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        try:
            found = await self.run_on(connection, "probe", SCRATCH)
            self._refused = refused_of(self._address, found)
            if self._refused is None:
                self._allowed = connection
                return
        except Rejected as error:  # EVAL itself
            self._refused = Refused(self._address, str(error))
        finally:
            self._trying = None
            self._try_not_before = loop.time() + TRY_AGAIN_S
        raise self._refused

    async def _connected(self, deadline: float | None) -> Connection:
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect(self._greet))
            self._connecting.add_done_callback(self._made)
        try:
            connection: Connection = await _until(deadline, asyncio.shield(self._connecting))
            return connection
        except Unanswered:
            raise NotSent(f"{self._address}: no connection in time") from None

    def _made(self, connecting: asyncio.Task[Connection]) -> None:
        self._connecting = None
        if not connecting.cancelled() and connecting.exception() is None:
            self.made += 1
            self._shared = connecting.result()

    async def _connect(
        self, greet: Callable[[Connection], Awaitable[None]] | None = None
    ) -> Connection:
        loop = asyncio.get_running_loop()
        if self._closed:
            raise NotSent("the journal is closed")
        if loop.time() < self._not_before:
            raise NotSent(f"{self._address} was not reachable, next attempt follows")
        try:
            connection = await connect(self._address, self._timeout_s, MAX_PENDING)
            if greet is not None:
                await _greeted(connection, greet, self._address)
        except NotSent:
            self._not_before = loop.time() + self._pauses.failed()
            raise
        if self._closed:
            connection.close()
            raise NotSent("the journal is closed")
        self._pauses.over()
        return connection


async def _greeted(
    connection: Connection, greet: Callable[[Connection], Awaitable[None]], address: Address
) -> None:
    try:
        await greet(connection)
    except BaseException as error:
        connection.close()
        if isinstance(error, Unanswered | Rejected):
            raise NotSent(f"{address}: {error}") from None
        raise


async def _until(deadline: float | None, answer: asyncio.Future[Any]) -> Any:
    if deadline is None:
        return await answer
    try:
        async with Timeout(deadline):
            return await answer
    except TimeoutError:
        raise Unanswered("no answer before the deadline") from None
