"""The body of an HTTP request, read from ASGI up to a limit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from bridge.errors import BridgeError

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


async def read_body(receive: Receive, max_bytes: int) -> bytes:
    """Return the whole body. Raises BridgeError `limit_exceeded`, or `invalid_frame` if the
    client went away before its end.
    """
    body = bytearray()
    while True:
        event = await receive()
        if event["type"] != "http.request":
            raise BridgeError("invalid_frame", "the request was broken off")
        body += event.get("body", b"")
        if len(body) > max_bytes:
            raise BridgeError(
                "limit_exceeded", f"a body takes up to {max_bytes} bytes", limit=max_bytes
            )
        if not event.get("more_body", False):
            return bytes(body)
