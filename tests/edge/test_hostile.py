"""What no client should send, on a real edge: an answer, a close, and nothing for the others."""

from __future__ import annotations

import asyncio
import json
import os
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from bridge import paced
from tests.deadline import held_up, until
from tests.edge.rig import Rig, rig, run

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


# -- requests ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "line", [b"POST /health", b"PUT /admin/routes/x", b"POST /elsewhere", b"GET /health"]
)
@pytest.mark.parametrize(
    "framing", [b"Transfer-Encoding: chunked\r\n", b"Content-Length: 1000000\r\n"]
)
def test_a_body_nobody_reads_closes_the_connection_with_the_answer(
    line: bytes, framing: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paced, "LINGER_S", 0.02)

    async def main() -> None:
        async with rig(token="s3cret") as r, raw(r) as c:
            c.write(line + b" HTTP/1.1\r\n" + HOST + framing + b"\r\n" + CHUNK * 20_000)
            status, headers, _ = await c.answer()
            assert headers["connection"] == "close"
            assert status in (200, 401, 404)
            assert await c.reader.read() == b""
            while not c.writer.is_closing():
                c.write(CHUNK * 1000)
                await asyncio.sleep(0)

    run(main())


def test_a_body_that_is_read_leaves_the_connection_open() -> None:
    async def main() -> None:
        async with rig() as r, raw(r) as c:
            body = b'{"owner":"elixir"}'
            for framed in (
                b"Content-Length: 18\r\n\r\n" + body,
                b"Transfer-Encoding: chunked\r\n\r\n12\r\n" + body + b"\r\n0\r\n\r\n",
            ):
                c.write(b"PUT /admin/routes/counter HTTP/1.1\r\n" + HOST + framed)
                status, headers, _ = await c.answer()
                assert (status, headers.get("connection")) == (200, None)
            c.write(b"GET /health HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n")
            status, headers, _ = await c.answer()
            assert (status, headers.get("connection")) == (200, None)

    run(main())


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        # Two ends of one request (RFC 9112, 6.1 and 6.3).
        (
            b"POST /health HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n",
            400,
            "",
        ),
        (
            b"POST /health HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n",
            400,
            "",
        ),
        (b"POST /health HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 5\r\n", 400, ""),
        (b"POST /health HTTP/1.1\r\nContent-Length: 4, 5\r\n", 400, ""),
        (b"POST /health HTTP/1.1\r\nContent-Length: +4\r\n", 400, ""),
        (b"POST /health HTTP/1.1\r\nContent-Length: 0x4\r\n", 400, ""),
        (b"POST /health HTTP/1.1\r\nContent-Length: 4_0\r\n", 400, ""),
        (b"POST /health HTTP/1.1\r\nContent-Length: " + b"9" * 30 + b"\r\n", 400, ""),
        (b"POST /health HTTP/1.0\r\nTransfer-Encoding: chunked\r\n", 400, ""),
        (b"POST /health HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n", 501, ""),
        (b"POST /health HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n", 501, ""),
        (b"POST /health HTTP/1.1\r\nTransfer-Encoding : chunked\r\n", 400, ""),
        (b"GET /health HTTP/1.1\r\nHost: other\r\n", 400, ""),
        (b"GET /health HTTP/9.9\r\n", 505, ""),
        (b"GET  /health HTTP/1.1\r\n", 400, ""),
        (b"GET /he\xc3\xa4lth HTTP/1.1\r\n", 400, ""),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400, ""),
        (b"hello\r\n", 400, ""),
        (b" GET /health HTTP/1.1\r\n", 400, ""),
        (b"GET /health HTTP/1.1\r\nx: a\x00b\r\n", 400, ""),
        # Too much of it.
        (b"GET /health HTTP/1.1\r\n" + b"a:\r\n" * 101, 431, "limit_exceeded"),
        (b"GET /health HTTP/1.1\r\n" + b"a:\r\n" * 200_000, 431, "limit_exceeded"),
        (b"GET /health HTTP/1.1\r\nx: " + b"y" * 20_000 + b"\r\n", 431, "limit_exceeded"),
        (b"GET /" + b"y" * 20_000 + b" HTTP/1.1\r\n", 431, "limit_exceeded"),
        (b"GET /health?" + b"&".join([b"a"] * 101) + b" HTTP/1.1\r\n", 400, "limit_exceeded"),
        (b"GET /health?" + b"&" * 5000 + b" HTTP/1.1\r\n", 400, "limit_exceeded"),
        (b"GET /admin/status?" + b"&" * 101 + b" HTTP/1.1\r\n", 400, "limit_exceeded"),
        (
            b"GET /health HTTP/1.1\r\nSec-WebSocket-Protocol: " + b"a," * 70 + b"\r\n",
            431,
            "limit_exceeded",
        ),
    ],
    ids=range(28),
)
def test_what_is_no_request_is_refused_and_the_connection_closed(
    head: bytes, status: int, code: str
) -> None:
    async def main() -> None:
        async with rig(token="s3cret") as r, raw(r) as c:
            c.write(head + HOST + b"\r\n0\r\n\r\n")
            if code == "limit_exceeded" and status == 400:  # by the application: it is a request
                given, _, error = await c.answer()
                assert (given, error["code"]) == (status, code)
            else:
                assert await c.refused() == (status, code or "invalid_request")

    run(main())


@pytest.mark.parametrize(
    "body", [b"x\r\n", b"5\r\nabc", b"1\r\nabc\r\n", b"-1\r\n", b"1;" + b"x" * 20_000]
)
def test_chunks_that_are_none_end_the_request(body: bytes) -> None:
    async def main() -> None:
        async with rig(request_timeout_ms=200) as r, raw(r) as c:
            head = b"PUT /admin/routes/counter HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
            c.write(head + HOST + b"\r\n" + body)
            status, _ = await c.refused()
            assert status in (400, 408, 431)
            assert [route.owner for route in await r.journal.routes()] == ["python", "python"]

    run(main())


def test_too_many_parameters_of_a_socket_are_refused_before_the_token_is_asked_for() -> None:
    async def main() -> None:
        async with rig(token="s3cret") as r, raw(r) as c:
            c.write(UPGRADE.replace(b"vsn=2.0.0", b"&".join([b"vsn=2.0.0"] * 101)))
            status, _, error = await c.answer()
            assert (status, error["code"]) == (400, "limit_exceeded")
            assert error["detail"] == {"limit": 100, "actual": 101}

    run(main())


def test_pipelined_requests_are_answered_in_order_until_one_is_none() -> None:
    async def main() -> None:
        async with rig() as r, raw(r) as c:
            one = b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n"
            c.write(
                one * 50 + b"GET /elsewhere HTTP/1.1\r\n" + HOST + b"\r\nnonsense\r\n\r\n" + one
            )
            for _ in range(50):
                assert (await c.answer())[0] == 200
            assert (await c.answer())[0] == 404
            assert await c.refused() == (400, "invalid_request")

    run(main())


# -- waits -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "head", [b"G", b"GET /health HTTP/1.1\r\nHost: loc", b"GET / HTTP/1.1\r\n"]
)
def test_a_head_that_does_not_end_is_answered_with_408(head: bytes) -> None:
    async def main() -> None:
        async with rig(request_timeout_ms=50) as r, raw(r) as c:
            c.write(head)
            assert await c.refused() == (408, "deadline_exceeded")

    run(main())


def test_a_head_that_comes_drop_by_drop_has_no_more_time() -> None:
    async def main() -> None:
        async with rig(request_timeout_ms=100) as r, raw(r) as c:
            dropping = True

            async def drops() -> None:
                c.write(b"GET /health HTTP/1.1\r\n")
                while dropping:
                    c.write(b"a: b\r\n"[:1])
                    await asyncio.sleep(0.01)

            task = asyncio.create_task(drops())
            assert (await c.answer())[0] == 408
            dropping = False
            await task

    run(main())


def test_a_second_head_has_its_time_too_and_silence_is_closed_without_an_answer() -> None:
    async def main() -> None:
        async with rig(request_timeout_ms=50) as r, raw(r) as c, raw(r) as silent:
            c.write(b"GET /health HTTP/1.1\r\n" + HOST + b"\r\nGET /health")
            assert (await c.answer())[0] == 200
            assert await c.refused() == (408, "deadline_exceeded")
            assert await silent.reader.read() == b""

    run(main())


@pytest.mark.parametrize("begun", [b"", b"{", b'{"owner":"elixir"'])
def test_a_body_that_does_not_end_is_answered_with_408(begun: bytes) -> None:
    async def main() -> None:
        async with rig(request_timeout_ms=50) as r, raw(r) as c:
            head = b"PUT /admin/routes/counter HTTP/1.1\r\nContent-Length: 18\r\n"
            c.write(head + HOST + b"\r\n" + begun)
            assert await c.refused() == (408, "deadline_exceeded")
            assert [route.owner for route in await r.journal.routes()] == ["python", "python"]

    run(main())


# -- frames ------------------------------------------------------------------------------------
def test_nothing_behind_a_close_is_worked_on_and_the_client_gets_replies_and_code() -> None:
    async def main() -> None:
        async with rig() as r, raw(r) as c:
            await c.open()
            join = text("1", "1", "counter:a", "phx_join", {})
            after = join + text("1", "2", "counter:a", "add", {"n": 1})
            c.write(frame(1, b"{") * 10 + after + frame(9, b"ping"))
            replies, code = await c.closed()
            assert code == 1008
            assert [reply[4]["response"]["code"] for reply in replies] == ["invalid_frame"] * 10
            assert r.dispatcher.seen == []

    run(main())


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (frame(3), 1002),
        (frame(9, fin=False), 1002),
        (frame(0, b"x"), 1002),
        (frame(1, b"x", fin=False) + frame(1, b"y"), 1002),
        (b"\x81\x01x", 1002),
        (b"\xc1\x80\0\0\0\0", 1002),
        (frame(1, b"\xff"), 1007),
        (b"\x81\xff" + struct.pack("!Q", 2**62), 1009),
        (frame(8, b"\x03"), 1002),
    ],
    ids=range(9),
)
def test_a_frame_that_is_none_closes_behind_the_replies_to_those_before(
    bad: bytes, code: int
) -> None:
    async def main() -> None:
        async with rig() as r, raw(r) as c:
            await c.open()
            beat = text(None, "1", "phoenix", "heartbeat", {})
            c.write(beat + bad + beat)
            replies, given = await c.closed()
            assert given == code
            assert [reply[1] for reply in replies] == ["1"]

    run(main())


def test_a_message_has_a_bounded_number_of_fragments() -> None:
    async def main() -> None:
        async with rig() as r, raw(r) as c, r.client() as other:
            await c.open()
            await other.join("counter:a")
            c.write(frame(1, b"x", fin=False) + frame(0, fin=False) * 100_000)
            assert (await other.ask("counter:a", "add", {"n": 1}))["status"] == "ok"
            assert await c.closed() == ([], 1009)

    run(main())


def test_a_message_in_as_many_fragments_as_it_may_have_is_taken() -> None:
    async def main() -> None:
        async with rig() as r, raw(r) as c:
            await c.open()
            beat = b'[null,"1","phoenix","heartbeat",{}]'
            fragments = [bytes([b]) for b in beat] + [b""] * (1023 - len(beat))
            c.write(frame(1, fragments[0], fin=False))
            c.write(b"".join(frame(0, f, fin=False) + frame(9) for f in fragments[1:]))
            c.write(frame(0))
            while (got := await c.frame())[0] == 10:
                pass
            assert json.loads(got[1])[1] == "1"

    run(main())


def test_pings_are_answered_and_count_as_heard() -> None:
    async def main() -> None:
        async with rig(idle_timeout_ms=100) as r, raw(r) as c:
            await c.open()
            over = time.monotonic() + 0.4
            while time.monotonic() < over:
                c.write(frame(9, b"here"))
                assert await c.frame() == (10, b"here")
            assert (await c.closed())[1] == 4408

    run(main())


def test_a_worker_that_was_held_up_closes_nobody_it_has_yet_to_read() -> None:
    async def main() -> None:
        async with rig(idle_timeout_ms=200) as r, raw(r) as c:
            await c.open()
            for n in range(3):
                c.write(text(None, str(n), "phoenix", "heartbeat", {}))
                held_up(0.3)
                assert json.loads((await c.frame())[1])[1] == str(n)

    run(main())


def test_a_client_that_floods_delays_nobody_else_and_loses_nothing() -> None:
    async def main() -> None:
        async with rig(max_in_flight=5000) as r, raw(r) as c, r.client() as other:
            await c.open()
            await other.join("counter:b")
            c.write(text("1", "j", "counter:a", "phx_join", {}))
            for n in range(2000):
                c.write(text("1", str(n), "counter:a", "total", {}))
            for _ in range(20):
                assert (await other.ask("counter:b", "add", {"n": 1}))["status"] == "ok"
            refs = [json.loads((await c.frame())[1])[1] for _ in range(2001)]
            assert sorted(refs[1:], key=int) == [str(n) for n in range(2000)]

    run(main())


def test_a_client_that_reads_no_pongs_is_read_no_further_and_dropped() -> None:
    async def main() -> None:
        async with rig(idle_timeout_ms=300) as r, raw(r) as c:
            await c.open()
            reading: Any = c.writer.transport
            reading.pause_reading()
            c.write(frame(9, b"x" * 125) * 60_000)
            await until(lambda: not r.edge.sockets)

    run(main())


# -- handshakes --------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("missing", "status"),
    [
        (b"Connection: Upgrade\r\n", 426),
        (b"Upgrade: websocket\r\n", 426),
        (b"Connection: Upgrade\r\nUpgrade: websocket\r\n", 426),
        (b"Connection: Upgrade", 426),
        (b"Sec-WebSocket-Version: 13\r\n", 400),
        (b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", 400),
    ],
    ids=range(6),
)
def test_a_handshake_without_its_headers_is_told_which(missing: bytes, status: int) -> None:
    async def main() -> None:
        async with rig() as r, raw(r) as c:
            assert missing in UPGRADE
            instead = b"" if missing.endswith(b"\n") else b"Connection: close"
            c.write(UPGRADE.replace(missing, instead))
            given, headers, error = await c.answer()
            assert given == status
            names = [line.partition(b":")[0].decode() for line in missing.splitlines()]
            assert error["code"] == "invalid_request"
            assert error["detail"]["missing"] == names
            assert all(name in error["message"] for name in names)
            if status == 426:
                assert headers["upgrade"] == "websocket"

    run(main())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Version: 13", b"Version: 12"),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"short"),
        (b"GET", b"POST"),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\nhello"),
        (b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nX: " + b"y" * 9000 + b"\r\n\r\n"),
        (b"vsn=2.0.0", b"vsn=2.0.0&a=" + b"y" * 9000),
        (b"Upgrade: websocket", b"Upgrade: websocket, h2c"),
    ],
    ids=range(9),
)
def test_a_handshake_that_is_none_is_answered_and_closed(old: bytes, new: bytes) -> None:
    async def main() -> None:
        async with rig() as r, raw(r) as c:
            c.write(UPGRADE.replace(old, new))
            answer = await c.reader.readuntil(b"\r\n\r\n")
            assert 400 <= int(answer.split()[1]) < 600
            assert int(answer.split()[1]) != 500

    run(main())


def test_frames_behind_the_handshake_are_not_lost() -> None:
    async def main() -> None:
        async with rig() as r, raw(r) as c:
            beats = [text(None, str(n), "phoenix", "heartbeat", {}) for n in range(200)]
            c.write(UPGRADE + b"".join(beats))
            assert b" 101 " in await c.reader.readuntil(b"\r\n\r\n")
            for n in range(200):
                assert json.loads((await c.frame())[1])[1] == str(n)

    run(main())


def test_a_message_of_too_many_values_is_refused_and_one_of_as_many_taken() -> None:
    async def main() -> None:
        async with rig() as r, r.client() as client:
            await client.join("counter:a")
            most = [0] * 9_900
            assert (await client.ask("counter:a", "total", {"a": most}))["status"] == "ok"
            lists: list[list[Any]] = [[0] * 10_001, [[]] * 6_000, [{"a": 1}] * 6_000]
            for too_many in lists:
                reply = await client.ask("counter:a", "total", {"a": too_many})
                assert reply["response"]["code"] == "limit_exceeded"
            commas = {"a": ',"[{\\' * 20_000}
            assert (await client.ask("counter:a", "total", commas))["status"] == "ok"

    run(main())
