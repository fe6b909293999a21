"""JSON answers over ASGI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

from bridge.message import JSON

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON_TYPE = (b"content-type", b"application/json")


async def respond(send: Send, method: str, status: int, headers: Headers, body: bytes) -> None:
    """Answer an HTTP request with these headers and bytes; a HEAD request without the body."""
    await _respond(send, "http.response", status, headers, body, head=method == "HEAD")


async def respond_to_handshake(send: Send, status: int, body: JSON) -> None:
    """Refuse a WebSocket with an HTTP answer (ASGI's websocket.http.response extension)."""
    data = orjson.dumps(body)
    await _respond(send, "websocket.http.response", status, [JSON_TYPE], data, head=False)


async def _respond(
    send: Send, kind: str, status: int, headers: Headers, body: bytes, *, head: bool
) -> None:
    headers = [
        *headers,
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": f"{kind}.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.body", "body": b"" if head else body})
