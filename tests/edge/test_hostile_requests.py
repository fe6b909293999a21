"""Requests that no client should send or leave unended, on a real edge."""

from __future__ import annotations

import asyncio

import pytest

from bridge import paced
from tests.edge.raw import CHUNK, HOST, UPGRADE, raw
from tests.edge.rig import rig, run


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
