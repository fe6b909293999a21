"""What a hostile peer may send, without end: the attacks of `bridge bench hostile`."""

from __future__ import annotations

import base64
import json
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from bridge.bench.frames import masked

CONNECTIONS = 4
TOPIC = "bench:attacked"
Where = Literal["http", "socket", "terminal", "link"]


@dataclass(frozen=True)
class Attack:
    """What is written after `opening`, piece by piece until the peer closes."""

    where: Where
    opening: Callable[[], bytes]
    pieces: Callable[[], Iterator[bytes]]
    reads: bool = True
    connections: int = CONNECTIONS


def for_ever(piece: bytes) -> Callable[[], Iterator[bytes]]:
    def pieces() -> Iterator[bytes]:
        while True:
            yield piece

    return pieces


def once(piece: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: iter([piece])


def nothing() -> bytes:
    return b""


def request(line: str, *headers: str) -> bytes:
    return "\r\n".join([line, "Host: localhost", *headers, "", ""]).encode()


def handshake(path: str = "/socket/websocket?vsn=2.0.0") -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    return request(
        f"GET {path} HTTP/1.1",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
    )


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """Return a client's frame, masked with zeros, of up to 125 bytes."""
    return struct.pack("!BB4x", fin << 7 | opcode, 0x80 | len(payload)) + payload


def pushes(event: str, payload: object, count: int, topic: str = TOPIC) -> bytes:
    text = json.dumps(["1", "2", topic, event, payload], separators=(",", ":"))
    return masked(text) * count


def joined() -> bytes:
    return handshake() + pushes("phx_join", {}, 1)


def large(payload: str) -> bytes:
    text = f'["1","2","{TOPIC}","read",{payload}]'.encode()
    return struct.pack("!BBQ4x", 0x81, 0x80 | 127, len(text)) + text


def events(count: int) -> bytes:
    body = json.dumps([{"name": "a/b", "data": {"n": n}} for n in range(count)]).encode()
    head = request("POST /e/local HTTP/1.1", f"Content-Length: {len(body)}")
    return head + body


def term(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


CHUNK = b"1\r\na\r\n"
BODY = request("POST /e/local HTTP/1.1", "Transfer-Encoding: chunked")
UNREAD = request("POST /health HTTP/1.1", "Transfer-Encoding: chunked")
HEAD = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
PARAMETERS = "&".join(f"p{n}=" for n in range(2000))
GET = request("GET /health HTTP/1.1")
PING = frame(9)
# {'C', 1, bridge, ping, [], 'N'} and {'M', []}
CALL = term(b"\x83h\x06w\x01Ca\x01w\x06bridgew\x04pingjw\x01N")

ATTACKS: dict[str, Attack] = {
    "chunks nobody reads": Attack("http", lambda: UNREAD, for_ever(CHUNK * 10_000)),
    "chunks of a body": Attack("http", lambda: BODY, for_ever(CHUNK * 10_000)),
    "headers": Attack("http", lambda: HEAD, for_ever(b"a:\r\n" * 10_000)),
    "parameters": Attack(
        "http", nothing, for_ever(request(f"GET /health?{PARAMETERS} HTTP/1.1"))
    ),
    "pipelined requests": Attack("http", nothing, for_ever(GET * 500)),
    "slow heads": Attack("http", lambda: HEAD, once(b"a: b"), connections=200),
    "arrays of events": Attack("http", nothing, for_ever(events(5_000))),
    "handshakes": Attack("http", lambda: handshake(), once(b"")),
    "fragments": Attack(
        "socket",
        lambda: handshake() + frame(1, b"x", fin=False),
        for_ever(frame(0, fin=False) * 10_000),
    ),
    "pings": Attack("socket", handshake, for_ever(PING * 10_000)),
    "pings whose pongs nobody reads": Attack(
        "socket", handshake, for_ever(frame(9, b"x" * 125) * 1_000), reads=False
    ),
    "heartbeats": Attack(
        "socket", handshake, for_ever(pushes("heartbeat", {}, 1_000, "phoenix"))
    ),
    "pushes to no topic": Attack("socket", handshake, for_ever(pushes("read", {}, 1_000))),
    "queries": Attack("socket", joined, for_ever(pushes("read", {"message_id": "q"}, 1_000))),
    "joins": Attack("socket", joined, for_ever(pushes("phx_join", {}, 1_000))),
    "frames that are no JSON": Attack("socket", handshake, for_ever(masked("{") * 1_000)),
    "lists of a megabyte": Attack(
        "socket", joined, for_ever(large("[" + ",".join(["[]"] * 300_000) + "]"))
    ),
    "pings of the terminal": Attack("terminal", lambda: handshake("/"), for_ever(PING * 10_000)),
    "calls on the link": Attack("link", nothing, for_ever(CALL * 1_000)),
}
