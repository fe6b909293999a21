"""Bytes of a test's own, sent to a real edge."""

from __future__ import annotations

import asyncio
import json
import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.edge.rig import Rig

HOST = b"Host: localhost\r\n"
UPGRADE = (
    b"GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
CHUNK = b"1\r\na\r\n"


@dataclass
class Raw:
    """A connection on which anything can be said."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, dict[str, str], Any]:
        """Read one HTTP answer: status, headers, JSON."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:])}
        body = await self.reader.readexactly(int(headers["content-length"]))
        return int(head[0].split()[1]), headers, json.loads(body) if body else None

    async def refused(self) -> tuple[int, str]:
        """Return status and code of an answer after which nothing comes."""
        status, headers, error = await self.answer()
        assert headers["connection"] == "close"
        assert set(error) == {"code", "message", "retryable", "detail"}
        assert await self.reader.read() == b""
        return status, error["code"]

    async def open(self) -> None:
        self.write(UPGRADE)
        assert b" 101 " in await self.reader.readuntil(b"\r\n\r\n")

    async def frame(self) -> tuple[int, bytes]:
        """Read a frame: opcode and payload."""
        first, size = await self.reader.readexactly(2)
        if size == 126:
            (size,) = struct.unpack("!H", await self.reader.readexactly(2))
        return first & 0x0F, await self.reader.readexactly(size)

    async def closed(self) -> tuple[list[Any], int]:
        """Return the text frames that come, and the code of the close behind them."""
        texts: list[Any] = []
        while True:
            opcode, payload = await self.frame()
            if opcode == 8:
                self.write(frame(8, payload[:2]))
                assert await self.reader.read() == b""
                return texts, int.from_bytes(payload[:2])
            if opcode == 1:
                texts.append(json.loads(payload))


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    mask = os.urandom(4)
    masked = bytes(b ^ mask[n % 4] for n, b in enumerate(payload))
    return struct.pack("!BB", fin << 7 | opcode, 0x80 | len(payload)) + mask + masked


def text(*members: Any) -> bytes:
    return frame(1, json.dumps(list(members), separators=(",", ":")).encode())


@asynccontextmanager
async def raw(r: Rig) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection("127.0.0.1", r.port)
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()


@pytest.fixture(autouse=True)
def no_traceback(caplog: pytest.LogCaptureFixture) -> Any:
    yield
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []
