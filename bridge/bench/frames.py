"""A client's WebSocket frames, as light as can be. No I/O here."""

from __future__ import annotations

import struct


def masked(text: str) -> bytes:
    """Return a client's text frame; masked with zeros, its payload stays as it is."""
    data = text.encode()
    if len(data) < 126:
        return struct.pack("!BB4x", 0x81, 0x80 | len(data)) + data
    return struct.pack("!BBH4x", 0x81, 0x80 | 126, len(data)) + data
