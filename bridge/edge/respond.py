"""JSON answers over ASGI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

from bridge.message import JSON

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


async def respond(send: Send, method: str, status: int, body: JSON) -> None:
    """Answer an HTTP request with JSON; a HEAD request without the body."""
    await _respond(send, "http.response", status, body, head=method == "HEAD")


async def respond_to_handshake(send: Send, status: int, body: JSON) -> None:
    """Refuse a WebSocket with an HTTP answer (ASGI's websocket.http.response extension)."""
    await _respond(send, "websocket.http.response", status, body, head=False)


async def _respond(send: Send, kind: str, status: int, body: JSON, *, head: bool) -> None:
    data = orjson.dumps(body)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(data)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": f"{kind}.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.body", "body": b"" if head else data})
