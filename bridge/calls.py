"""Call a subsystem and follow its events, over WebSocket, whatever happens to the worker."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple, TypeVar, overload

from pydantic import BaseModel

from bridge.backoff import Backoff
from bridge.client import Client, ErrorReply, NotReached, connected
from bridge.errors import Unable
from bridge.message import JSON

PAUSES_S = 0.05, 2.0
MOST_WAITING = 1000  # events nobody has taken; then no more are read

Reply = TypeVar("Reply", bound=BaseModel)


class CallError(Unable):
    """The bridge's no, `code` as docs/protocol.md lists them, or one of the client's own.

    `no_answer`: not known whether it was applied, repeat with `detail["message_id"]`. `gap`:
    events were missed, go on from `detail["position"]`.
    """

    def __init__(self, code: str, message: str, retryable: bool, detail: dict[str, JSON]) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.retryable = retryable
        self.detail = detail


class Event(NamedTuple):
    """An event of a key; `(seq, n)` grows along it, `position` is where to go on from."""

    type: str
    payload: JSON
    key: str
    position: str
    seq: int
    n: int
    id: str


class Calls:
    """Calls of one subsystem, over one connection that is made again; see `calls`."""

    def __init__(self, url: str, subsystem: str, token: str) -> None:
        self._url = url
        self._subsystem = subsystem
        self._token = token
        self._stack = AsyncExitStack()
        self._connecting = asyncio.Lock()
        self._socket: _Socket | None = None

    @overload
    async def call(
        self,
        key: str,
        operation: str,
        request: BaseModel | dict[str, JSON],
        *,
        timeout_s: float = ...,
        message_id: str = ...,
    ) -> JSON: ...

    @overload
    async def call(
        self,
        key: str,
        operation: str,
        request: BaseModel | dict[str, JSON],
        reply: type[Reply],
        *,
        timeout_s: float = ...,
        message_id: str = ...,
    ) -> Reply: ...

    async def call(
        self,
        key: str,
        operation: str,
        request: BaseModel | dict[str, JSON],
        reply: type[Reply] | None = None,
        *,
        timeout_s: float = 15,
        message_id: str = "",
    ) -> JSON | Reply:
        """Ask for an operation on a key; return its reply, as a model if one is given.

        What fails with a retryable error, or is lost with the connection, is repeated under the
        same message id for `timeout_s`: a command is applied once, or not at all. Raises
        CallError. Who repeats a call gives the `message_id` it had.
        """
        message_id = message_id or str(uuid.uuid4())
        asked = (
            request.model_dump(mode="json", by_alias=True, exclude_unset=True)
            if isinstance(request, BaseModel)
            else request
        )
        payload = {**asked, "message_id": message_id}
        last: ErrorReply | None = None
        pauses = Backoff(*PAUSES_S)
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    try:
                        socket = await self._connected()
                        last = None  # what an earlier attempt said is nothing about this one
                        answer = await socket.push(
                            f"{self._subsystem}:{key}", operation, payload, timeout_s
                        )
                        return answer if reply is None else reply.model_validate(answer)
                    except ErrorReply as error:
                        last = error
                        if not error.response["retryable"]:
                            break
                    except NotReached:
                        pass
                    await asyncio.sleep(pauses.failed())
        except TimeoutError:
            if last is None:
                text = f"no answer within {timeout_s:g} s"
                raise CallError("no_answer", text, True, {"message_id": message_id}) from None
        raise _call_error(last)

    async def events(self, key: str, since: str = "") -> AsyncIterator[Event]:
        """Yield a key's events in order, each once, across lost connections.

        From now on, or after the position `since`. Raises CallError, with code `gap` where some
        are no longer kept.
        """
        topic = f"{self._subsystem}:{key}"
        last = (0, -1)
        pauses = Backoff(*PAUSES_S)
        while True:
            try:
                async with connected(self._url, self._token, MOST_WAITING) as client:
                    joined = await client.join(topic, {"since": since} if since else {})
                    if joined.get("gap"):
                        text = f"events of {topic} were missed: they are no longer kept"
                        raise CallError("gap", text, False, {"position": joined["position"]})
                    since = since or joined["position"]
                    pauses.over()
                    while (told := await client.events.get()) is not None:
                        _, type_, body = told
                        if type_ == "phx_error":
                            break
                        if (at := (body["seq"], body["n"])) > last:
                            last = at
                            yield Event(type_, **body)
                        since = body["position"]
            except NotReached:
                pass
            except ErrorReply as error:
                if not error.response["retryable"]:
                    raise _call_error(error) from None
            await asyncio.sleep(pauses.failed())

    async def _connected(self) -> _Socket:
        async with self._connecting:
            if self._socket is None or self._socket.lost.done():
                await self._stack.aclose()
                client = await self._stack.enter_async_context(
                    connected(self._url, self._token, MOST_WAITING)
                )
                self._socket = _Socket(client)
                self._stack.callback(self._socket.lost.cancel)
            return self._socket

    async def close(self) -> None:
        await self._stack.aclose()


class _Socket:
    """A connection and the topics that are joined on it; `lost` ends with it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._joins: dict[str, asyncio.Task[JSON]] = {}
        self.lost = asyncio.create_task(self._until_lost())

    async def push(
        self, topic: str, operation: str, payload: dict[str, JSON], timeout_s: float
    ) -> Any:
        if topic not in self._joins:
            self._joins[topic] = asyncio.create_task(self._client.join(topic))
        join = self._joins[topic]
        try:
            await asyncio.shield(join)
        except (ErrorReply, NotReached):
            if self._joins.get(topic) is join:
                del self._joins[topic]
            raise
        return await self._client.push(topic, operation, payload, timeout_s)

    async def _until_lost(self) -> None:
        while (told := await self._client.events.get()) is not None:
            if told[1] == "phx_error":
                self._joins.pop(told[0], None)


def _call_error(error: ErrorReply | None) -> CallError:
    assert error is not None
    response = error.response
    return CallError(
        response["code"], response["message"], response["retryable"], response.get("detail", {})
    )


@asynccontextmanager
async def calls(url: str, subsystem: str, token: str = "") -> AsyncIterator[Calls]:
    """Connect to a subsystem of the bridge at `url` (http or ws) at the first call.

    The topics that were called stay joined, so one client is for a bounded number of keys
    (`BRIDGE_MAX_TOPICS`).
    """
    found = Calls(url, subsystem, token)
    try:
        yield found
    finally:
        await found.close()
