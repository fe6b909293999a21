"""One pipelined connection to Redis: requests go out in order, answers come back in order.

redis-py lends a connection to each caller for a whole round trip. Here callers share one: a
burst of commits costs one write, one fsync of the append-only file and one read; a cancelled
caller leaves nothing behind; and a worker that reconnects opens one connection, not a pool.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import hiredis

from bridge.errors import BridgeError
from bridge.patience import Due, timeout
from bridge.redis.address import Address

# What the prelude of our scripts says of a key of another type.
_WRONG_TYPE = re.compile(r"WRONGTYPE (.+) is a ([\w ]+), expected a (\w+)")
_IN_SCRIPT = re.compile(r"(?:ERR Error running script .*?|@user_script: \d+): -([A-Z]+) ")

Part = str | bytes | int

MAX_UNSENT_BYTES = 33_554_432


class NotSent(Exception):
    """Nothing of the request reached Redis."""


class Unanswered(Exception):
    """The request was sent, and its answer will not come."""


class Rejected(Exception):
    """Redis answered with an error and did nothing; `code` is the first word of it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        # Redis 6.2 wraps what a command in a script answered: `ERR Error running script
        # (call to f_…): @user_script:25: @user_script: 25: -OOM command not allowed …`.
        inside = _IN_SCRIPT.match(text)
        self.code = inside[1] if inside else text.partition(" ")[0]


class WrongType(Rejected):
    """A key holds another type than the bridge gave it; nothing was done to it."""

    def __init__(self, key: str, found: str, expected: str) -> None:
        super().__init__(f"WRONGTYPE {key} is a {found}, expected a {expected}")
        self.key = key
        self.found = found
        self.expected = expected


def rejected(text: str) -> Rejected:
    """Return the error that Redis's text stands for."""
    wrong = _WRONG_TYPE.search(text)
    return WrongType(*wrong.groups()) if wrong else Rejected(text)


@dataclass(frozen=True, slots=True)
class _Pending:
    answer: asyncio.Future[Any]
    tag: bytes | None
    deadline: float


class Connection(asyncio.Protocol):
    """Send requests and hand out their answers.

    An answer that does not come in time means that none after it will: the connection is cut
    and everything pending is `Unanswered`. A tagged answer that bears another tag is out of
    step (bytes were lost on the way) and is treated the same.
    """

    def __init__(self, timeout_s: float, max_pending: int) -> None:
        self.closed = False
        self._loop = asyncio.get_running_loop()
        self._timeout_s = timeout_s
        self._max_pending = max_pending
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self._pending: deque[_Pending] = deque()
        self._unwritten: list[bytes] = []
        self._watch: Due | None = None

    def send(
        self, *parts: Part, tag: bytes | None = None, timeout_s: float = 0
    ) -> asyncio.Future[Any]:
        """Queue one request; the future has its answer, or raises Unanswered or Rejected."""
        if self.closed:
            raise NotSent("the connection is closed")
        if len(self._pending) >= self._max_pending or self._unsent_bytes() > MAX_UNSENT_BYTES:
            raise BridgeError(
                "overloaded",
                f"{len(self._pending)} requests to Redis are unanswered, limit is "
                f"{self._max_pending}, or {MAX_UNSENT_BYTES} bytes that it has not taken",
                limit=self._max_pending,
                limit_bytes=MAX_UNSENT_BYTES,
            )
        answer: asyncio.Future[Any] = self._loop.create_future()
        deadline = self._loop.time() + (timeout_s or self._timeout_s)
        self._pending.append(_Pending(answer, tag, deadline))
        if self._watch is None:
            self._watch = Due(deadline, self._check)
        if not self._unwritten:
            self._loop.call_soon(self._flush)
        packed = hiredis.pack_command(parts)  # type: ignore[arg-type] # its stub wants one part
        self._unwritten.append(packed)
        return answer

    def close(self, reason: str = "closed") -> None:
        """Cut the connection; what is pending is Unanswered."""
        if self.closed:
            return
        self.closed = True
        if self._watch is not None:
            self._watch.cancel()
        if self._transport is not None:
            self._transport.abort()
        while self._pending:
            answer = self._pending.popleft().answer
            if not answer.done():
                answer.set_exception(Unanswered(reason))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def connection_lost(self, exc: Exception | None) -> None:
        self.close(str(exc or "Redis closed the connection"))

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (answer := self._reader.gets()) is not False:
                self._settle(answer)
        except hiredis.ProtocolError as error:
            self.close(f"not a Redis answer: {error}")

    def _settle(self, answer: Any) -> None:
        if self.closed:
            return
        if not self._pending:
            self.close("an answer to no request")
            return
        pending = self._pending[0]
        failed = isinstance(answer, hiredis.ReplyError)
        if pending.tag is not None and not failed and answer[0] != pending.tag:
            self.close("an answer out of step")
            return
        self._pending.popleft()
        if pending.answer.done():
            return  # its caller was cancelled
        if failed:
            pending.answer.set_exception(rejected(str(answer)))
        else:
            pending.answer.set_result(answer)

    def _unsent_bytes(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport else 0

    def _flush(self) -> None:
        if self._transport is not None and not self.closed:
            self._transport.write(b"".join(self._unwritten))
        self._unwritten.clear()

    def _check(self) -> None:
        self._watch = None
        if not self._pending:
            return
        if self._pending[0].deadline <= self._loop.time():
            self.close("Redis did not answer in time")
        else:
            self._watch = Due(self._pending[0].deadline, self._check)


async def connect(
    address: Address, timeout_s: float, max_pending: int, name: str = "bridge"
) -> Connection:
    """Open a connection that has answered a PING; raises NotSent with what went wrong."""
    loop = asyncio.get_running_loop()

    def make() -> Connection:
        return Connection(timeout_s, max_pending)

    connection: Connection | None = None
    try:
        async with timeout(timeout_s):
            connection = await _open(loop, address, make)
            for request in _greeting(address, name):
                await connection.send(*request)
            return connection
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, TimeoutError):
            raise NotSent(f"{address} does not answer") from None
        if isinstance(error, OSError | Unanswered | Rejected):  # of TLS, too
            raise NotSent(f"{address}: {error}") from None
        raise


async def _open(
    loop: asyncio.AbstractEventLoop, address: Address, make: Callable[[], Connection]
) -> Connection:
    if address.path:
        return (await loop.create_unix_connection(make, address.path))[1]
    context = address.tls.context() if address.tls else None
    return (await loop.create_connection(make, address.host, address.port, ssl=context))[1]


def _greeting(address: Address, name: str) -> list[tuple[Part, ...]]:
    greeting: list[tuple[Part, ...]] = []
    if address.password:
        user = (address.username,) if address.username else ()
        greeting.append(("AUTH", *user, address.password))
    if address.database:
        greeting.append(("SELECT", address.database))
    return [*greeting, ("CLIENT", "SETNAME", name), ("PING",)]
