"""What an opening handshake of a WebSocket must have (RFC 6455, 4.2.1). No I/O here."""

from __future__ import annotations

from collections.abc import Iterable

from bridge.errors import BridgeError

HEADERS = ("Connection", "Upgrade", "Sec-WebSocket-Key", "Sec-WebSocket-Version")


def missing_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """Return which are missing, or say something else: a proxy may have put in its own."""
    there: dict[bytes, set[bytes]] = {}
    for name, value in headers:
        tokens = {token.strip().lower() for token in value.split(b",")}
        there[name] = there.get(name, set()) | tokens
    wanted = {"Connection": b"upgrade", "Upgrade": b"websocket"}
    return [
        name
        for name in HEADERS
        if name.lower().encode() not in there
        or (name in wanted and wanted[name] not in there[name.lower().encode()])
    ]


def incomplete(missing: list[str]) -> BridgeError:
    """Say what a request at a socket's path lacks to become one."""
    return BridgeError(
        "invalid_request",
        "a WebSocket is here, and this request asks for none: "
        f"{', '.join(missing) or 'HTTP/1.1'} is missing. A proxy in between must pass on "
        "`Connection: Upgrade` and `Upgrade: websocket`",
        expected=list(HEADERS),
        missing=missing,
    )
