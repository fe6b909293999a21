"""The journal's way to Redis: one shared connection for scripts, others for blocking reads."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.journal.connection import (
    Address,
    Connection,
    NotSent,
    Part,
    Rejected,
    Unanswered,
    connect,
)

MAX_PENDING = 10_000
MAX_IDLE = 4  # blocking connections kept for the next call
FIRST_PAUSE_S = 0.02  # between attempts to connect; doubles up to ...
LONGEST_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script with the prelude before it."""

    source: bytes
    sha: str


def load_scripts() -> dict[str, Script]:
    """Read `lua/*.lua`; the names are the files' without ending."""
    folder = Path(__file__).parent / "lua"
    prelude = (folder / "prelude.lua").read_bytes()
    scripts = {}
    for path in sorted(folder.glob("*.lua")):
        source = prelude + b"\n" + path.read_bytes()
        scripts[path.stem] = Script(source, hashlib.sha1(source).hexdigest())
    return scripts


class Client:
    """Run scripts on one shared connection, made when it is needed and again when it broke.

    All callers wait for the same attempt to connect. After a failed one the next starts after a
    pause; a call within the pause raises NotSent at once.
    """

    def __init__(self, url: str, timeout_ms: int) -> None:
        self._address = Address.parse(url)
        self._timeout_s = timeout_ms / 1000
        self._scripts = load_scripts()
        self._tags = itertools.count(1)
        self._shared: Connection | None = None
        self._connecting: asyncio.Task[Connection] | None = None
        self._idle: list[Connection] = []
        self._lent: set[Connection] = set()
        self._pause_s = 0.0
        self._not_before = 0.0
        self._closed = False

    async def run(
        self, script: str, key: str, *arguments: Part, deadline: float | None = None
    ) -> list[Any]:
        """Run a script on KEYS[1] `key`; return its answer without the tag.

        `deadline` is in the loop's time. Raises NotSent, Unanswered or Rejected.
        """
        connection = self._shared
        if connection is None or connection.closed:
            connection = await self._connected(deadline)
        tag = b"%d" % next(self._tags)
        source = self._scripts[script]
        try:
            answer: list[Any] = await _until(
                deadline, connection.send("EVALSHA", source.sha, 1, key, tag, *arguments, tag=tag)
            )
        except Rejected as error:
            if error.code != "NOSCRIPT":
                raise self._seen(connection, error) from None
            try:
                answer = await _until(
                    deadline,
                    connection.send("EVAL", source.source, 1, key, tag, *arguments, tag=tag),
                )
            except Rejected as second:
                raise self._seen(connection, second) from None
        del answer[0]
        return answer

    async def call(self, key: str, *command: Part) -> Any:
        """Run one command on the shared connection."""
        return (await self.run("call", key, *command))[0]

    async def block(self, wait_ms: int, *command: Part) -> Any:
        """Run a command that may block for `wait_ms` on a connection nobody else uses.

        A cancelled call drops its connection, and with it the command that waits in Redis.
        """
        connection = self._idle.pop() if self._idle else None
        if connection is None or connection.closed:
            connection = await self._connect()
        self._lent.add(connection)
        try:
            answer = await connection.send(*command, timeout_s=wait_ms / 1000 + self._timeout_s)
        except BaseException:
            connection.close()
            raise
        finally:
            self._lent.discard(connection)
        if len(self._idle) < MAX_IDLE and not self._closed:
            self._idle.append(connection)
        else:
            connection.close()
        return answer

    async def close(self) -> None:
        """Cut every connection: who waits for an answer gets Unanswered."""
        self._closed = True
        for connection in (self._shared, *self._idle, *self._lent):
            if connection is not None:
                connection.close("the journal was closed")
        self._idle.clear()
        if self._connecting is not None:
            await asyncio.wait([self._connecting])

    async def _connected(self, deadline: float | None) -> Connection:
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(self._made)
        try:
            connection: Connection = await _until(deadline, asyncio.shield(self._connecting))
            return connection
        except Unanswered:
            raise NotSent(f"{self._address}: no connection in time") from None

    def _made(self, connecting: asyncio.Task[Connection]) -> None:
        self._connecting = None
        if not connecting.cancelled() and connecting.exception() is None:
            self._shared = connecting.result()

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        if self._closed:
            raise NotSent("the journal is closed")
        if loop.time() < self._not_before:
            raise NotSent(f"{self._address} was not reachable, next attempt follows")
        try:
            connection = await connect(self._address, self._timeout_s, MAX_PENDING)
        except NotSent:
            self._pause_s = min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S, self._pause_s * 2))
            self._not_before = loop.time() + self._pause_s
            raise
        if self._closed:
            connection.close()
            raise NotSent("the journal is closed")
        self._pause_s = 0.0
        return connection

    def _seen(self, connection: Connection, error: Rejected) -> Rejected:
        # After a failover the address may lead to the new primary.
        if error.code in ("READONLY", "MASTERDOWN"):
            connection.close(str(error))
        return error


async def _until(deadline: float | None, answer: asyncio.Future[Any]) -> Any:
    if deadline is None:
        return await answer
    try:
        async with asyncio.timeout_at(deadline):
            return await answer
    except TimeoutError:
        raise Unanswered("no answer before the deadline") from None
