"""A Phoenix Channels client over WebSocket: for the command line, the probe and tests."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from bridge.errors import Unable

if TYPE_CHECKING:
    from bridge.message import JSON

HEARTBEAT_S = 30.0
OPEN_TIMEOUT_S = 10.0


class NotReached(Unable):
    """The bridge cannot be reached, or the connection was lost before the answer."""


class ErrorReply(Exception):
    """The bridge answered with an error; `response` is `{code, message, retryable, detail}`."""

    def __init__(self, response: JSON) -> None:
        super().__init__(str(response))
        self.response = response


class Client:
    """One socket. Joins and pushes may run at once.

    What else the bridge sends arrives in `events` as (topic, event, payload), None at the end;
    with `most_events` nothing more is read while so many have not been taken.
    """

    def __init__(self, connection: ClientConnection, most_events: int = 0) -> None:
        self._connection = connection
        self._refs = itertools.count(1)
        self._joins: dict[str, str] = {}
        self._waiting: dict[str, asyncio.Future[JSON]] = {}
        self.events: asyncio.Queue[tuple[str, str, JSON] | None] = asyncio.Queue(most_events)

    async def join(self, topic: str, params: JSON | None = None, timeout_s: float = 15) -> JSON:
        """Join a topic and return the reply; raises ErrorReply or NotReached."""
        ref = str(next(self._refs))
        self._joins[topic] = ref
        return await self._ask(ref, topic, "phx_join", params or {}, timeout_s)

    async def push(self, topic: str, event: str, payload: JSON, timeout_s: float = 15) -> JSON:
        """Push to a joined topic and return the reply; raises ErrorReply or NotReached."""
        return await self._ask(str(next(self._refs)), topic, event, payload, timeout_s)

    async def _ask(
        self, ref: str, topic: str, event: str, payload: JSON, timeout_s: float
    ) -> JSON:
        future: asyncio.Future[JSON] = asyncio.get_running_loop().create_future()
        self._waiting[ref] = future
        frame = [self._joins.get(topic), ref, topic, event, payload]
        try:
            async with asyncio.timeout(timeout_s):
                await self._connection.send(json.dumps(frame, ensure_ascii=False))
                return await future
        except ConnectionClosed as error:
            raise NotReached(f"the connection was lost: {error}") from None
        except TimeoutError:
            raise NotReached(f"no answer within {timeout_s:g} s") from None
        finally:
            self._waiting.pop(ref, None)

    async def _receive(self) -> None:
        lost = "the connection was closed"
        try:
            async for text in self._connection:
                if isinstance(text, str):
                    await self._take(*json.loads(text))
        except ConnectionClosed as error:
            lost = f"the connection was lost: {error}"
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(NotReached(lost))
        await self.events.put(None)

    async def _take(
        self, join_ref: str | None, ref: str | None, topic: str, event: str, payload: Any
    ) -> None:
        if event != "phx_reply":
            await self.events.put((topic, event, payload))
            return
        future = self._waiting.get(ref or "")
        if future is None or future.done():
            return
        if payload.get("status") == "ok":
            future.set_result(payload.get("response"))
        else:
            future.set_exception(ErrorReply(payload.get("response")))

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            await self._ask(str(next(self._refs)), "phoenix", "heartbeat", {}, HEARTBEAT_S)


@asynccontextmanager
async def connected(url: str, token: str = "", most_events: int = 0) -> AsyncIterator[Client]:
    """Connect to the bridge at `url` (http or ws, with or without the socket's path)."""
    try:
        connection = await connect(
            socket_url(url, token),
            open_timeout=OPEN_TIMEOUT_S,
            max_size=None,
            proxy=None,
            ping_interval=None,
            compression=None,
        )
    except (OSError, InvalidHandshake, InvalidURI, TimeoutError) as error:
        raise NotReached(f"cannot connect to {url}: {error}") from None
    client = Client(connection, most_events)
    tasks = [asyncio.create_task(client._receive()), asyncio.create_task(client._beat())]
    try:
        yield client
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await connection.close()


def socket_url(url: str, token: str = "") -> str:
    """Return the WebSocket address of the bridge at `url`."""
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    path = parts.path if parts.path.strip("/") else "/socket/websocket"
    query = "vsn=2.0.0" + (f"&token={quote(token, safe='')}" if token else "")
    return urlunsplit((scheme, parts.netloc, path, query, ""))
