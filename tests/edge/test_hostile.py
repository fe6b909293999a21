"""What no client should send, on a real edge: an answer, a close, and nothing for the others."""

from __future__ import annotations

import json
import struct
import time
from typing import Any

import pytest

from tests.deadline import held_up, until
from tests.edge.raw import UPGRADE, frame, raw, text
from tests.edge.rig import rig, run


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
