"""A connection to Redis in MONITOR mode, and what stood in joelclaw's lists when it began."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import hiredis

from bridge.observe.fates import MAX_FOLLOWED
from bridge.observe.keys import EVENTS, MODE, SESSIONS
from bridge.redis.address import Address

NAME = "bridge-observe"  # what CLIENT LIST shows
ANSWER_S = 5.0
CHUNK_BYTES = 262_144
TICK_S = 0.2
PING_S = 2.0


class Lost(Exception):
    """There is no connection, or no more; the text says why."""


class Found(NamedTuple):
    """What was there when the stream began; what comes first in it happened right afterwards."""

    at_ms: int
    sessions: list[str]
    lists: dict[str, list[bytes]]  # by session, the newest item first
    mode: str


class MonitorStream:
    """Connect, `begin`, then `receive` and take `lines` again and again.

    `silent_s` without a byte, though PINGs are sent, mean that nobody is there any more.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, silent_s: float
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._silent_s = silent_s
        self._replies = hiredis.Reader()
        self._heard_s = time.monotonic()
        self._asked_s: float | None = None  # when the PING was sent that is not answered yet
        self._next_ping_s = 0.0

    @classmethod
    async def connect(cls, address: Address, silent_s: float) -> MonitorStream:
        """Open a connection and sign on. Raises Lost."""
        try:
            async with asyncio.timeout(ANSWER_S):
                if address.path:
                    pair = await asyncio.open_unix_connection(address.path, limit=CHUNK_BYTES)
                else:
                    tls = address.tls.context() if address.tls else None
                    pair = await asyncio.open_connection(
                        address.host, address.port, ssl=tls, limit=CHUNK_BYTES
                    )
        except TimeoutError:
            raise Lost(f"{address} does not answer") from None
        except OSError as error:
            raise Lost(f"{address}: {error.strerror or error}") from None
        stream = cls(*pair, silent_s)
        try:
            await stream._ask(*_greeting(address))
        except BaseException:
            stream.close()
            raise
        return stream

    async def about(self) -> tuple[str, int]:
        """Return the server's version and how many commands a second it executes now."""
        (text,) = await self._ask(("INFO",))
        found = dict(line.split(":", 1) for line in text.decode().split("\r\n") if ":" in line)
        return found["redis_version"], int(found["instantaneous_ops_per_sec"])

    async def begin(self) -> Found:
        """Read joelclaw's lists and turn the stream on. Raises Lost.

        LRANGEs and MONITOR go out in one write. Redis executes what it reads at once from one
        connection without executing another's commands in between, so nothing falls between
        the lists and the stream.
        """
        (members,) = await self._ask(("SMEMBERS", SESSIONS))
        sessions = sorted(member.decode(errors="replace") for member in members)
        names = list(dict.fromkeys(["gateway", "main", *sessions]))
        lists = [("LRANGE", EVENTS + name.encode(), -MAX_FOLLOWED, -1) for name in names]
        (seconds, micros), mode, *items, _ = await self._ask(
            ("TIME",), ("GET", MODE), *lists, ("MONITOR",)
        )
        return Found(
            at_ms=int(seconds) * 1000 + int(micros) // 1000,
            sessions=sessions,
            lists=dict(zip(names, items, strict=True)),
            mode="sleep" if mode == b"sleep" else "active",
        )

    async def receive(self) -> None:
        """Wait for more, but not longer than TICK_S. Raises Lost."""
        try:
            async with asyncio.timeout(TICK_S):
                await self._more()
        except TimeoutError:
            pass

    def lines(self) -> Iterator[bytes]:
        """Yield what has come of the stream. Raises Lost."""
        try:
            while (line := self._replies.gets()) is not False:
                if isinstance(line, hiredis.ReplyError):
                    raise Lost(f"Redis answered {line}")
                if line == b"PONG":
                    self._asked_s = None
                else:
                    yield line
        except hiredis.ProtocolError as error:
            raise Lost(f"not Redis's protocol: {error}") from None

    def look(self) -> float:
        """Ask for a sign of life and return how many seconds the stream is read too late.

        A PING's answer comes after everything that was not read when it was sent. Raises Lost
        if nothing comes at all.
        """
        now_s = time.monotonic()
        silent_s = now_s - self._heard_s
        if self._asked_s is not None and silent_s > self._silent_s:
            raise Lost(f"nothing came for {silent_s:.0f} s")
        if self._asked_s is None and now_s >= self._next_ping_s:
            self._writer.write(hiredis.pack_command(("PING",)))
            self._asked_s, self._next_ping_s = now_s, now_s + PING_S
        return 0.0 if self._asked_s is None else now_s - self._asked_s - silent_s

    def close(self) -> None:
        """Let go at once: Redis keeps nothing more for it."""
        self._writer.transport.abort()

    async def _ask(self, *commands: tuple[str | bytes | int, ...]) -> list[Any]:
        """Send commands in one write and return their answers."""
        # Its stub wants one part.
        packed = (hiredis.pack_command(words) for words in commands)  # type: ignore[arg-type] # wants one part
        self._writer.write(b"".join(packed))
        answers: list[Any] = []
        try:
            async with asyncio.timeout(ANSWER_S):
                while len(answers) < len(commands):
                    answer = self._replies.gets()
                    if answer is False:
                        await self._more()
                    elif isinstance(answer, hiredis.ReplyError):
                        raise Lost(f"{commands[len(answers)][0]!s}: {answer}")
                    else:
                        answers.append(answer)
        except TimeoutError:
            raise Lost(f"no answer to {commands[len(answers)][0]!s}") from None
        except hiredis.ProtocolError as error:
            raise Lost(f"not Redis's protocol: {error}") from None
        return answers

    async def _more(self) -> None:
        try:
            data = await self._reader.read(CHUNK_BYTES)
        except OSError as error:
            raise Lost(error.strerror or str(error)) from None
        if not data:
            raise Lost("Redis closed the connection")
        self._heard_s = time.monotonic()
        self._replies.feed(data)


def _greeting(address: Address) -> list[tuple[str | bytes | int, ...]]:
    user = (address.username,) if address.username else ()
    return [
        *([("AUTH", *user, address.password)] if address.password else []),
        *([("SELECT", address.database)] if address.database else []),
        ("CLIENT", "SETNAME", NAME),
    ]
