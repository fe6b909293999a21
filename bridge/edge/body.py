"""The body of an HTTP request, read from ASGI within limits of size and time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from bridge.errors import BridgeError
from bridge.patience import timeout

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
NONE = (b"content-length", b"0")


class Body:
    """Read once by whoever needs it; `left` says whether some of it may still come."""

    def __init__(
        self, headers: Iterable[tuple[bytes, bytes]], receive: Receive, timeout_s: float
    ) -> None:
        framing = [h for h in headers if h[0] in (b"content-length", b"transfer-encoding")]
        self.left = bool(framing) and framing != [NONE]
        self._receive = receive
        self._timeout_s = timeout_s

    async def read(self, max_bytes: int) -> bytes:
        """Return the whole body.

        Raises BridgeError `limit_exceeded`, or `invalid_frame` if the client went away before
        its end, and TimeoutError if the end does not come in time.
        """
        body = bytearray()
        try:
            async with timeout(self._timeout_s):
                while True:
                    event = await self._receive()
                    if event["type"] != "http.request":
                        raise BridgeError("invalid_frame", "the request was broken off")
                    body += event.get("body", b"")
                    if len(body) > max_bytes:
                        text = f"a body takes up to {max_bytes} bytes"
                        raise BridgeError("limit_exceeded", text, limit=max_bytes)
                    if not event.get("more_body", False):
                        self.left = False
                        return bytes(body)
        except TimeoutError:
            raise TimeoutError(
                f"not applied: the body was not there within {self._timeout_s:g} s"
            ) from None
