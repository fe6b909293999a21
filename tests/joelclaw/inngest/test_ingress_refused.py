"""What the event endpoint refuses, and what of it was applied: nothing."""

from __future__ import annotations

import asyncio
import json

import pytest

from bridge.joelclaw.inngest.ingress import (
    MAX_BODIES_BYTES,
    MAX_BODY_BYTES,
    MAX_EVENTS,
)
from tests.deadline import until
from tests.joelclaw.inngest.ingress_world import World, added, other, run


# -- refused -----------------------------------------------------------------------------------
@pytest.mark.parametrize("key", ["", "wrong", "evt-k3y", "evt-k3y/+x", "evt-k3y/+/", "%FF%00"])
def test_a_wrong_key_is_refused_as_inngest_refuses_it(key: str) -> None:
    async def test(w: World) -> None:
        answer = await w.http("POST", f"/e/{key}", json.dumps(added("x")).encode())
        assert answer.status == 401
        assert answer.body["status"] == 401
        assert answer.body["error"] == "Event key not found"
        assert answer.headers["content-type"] == "application/json"
        assert await w.entries() == []
        assert w.inngest.requests == []

    run(test)


def test_an_empty_event_key_opens_nothing() -> None:
    async def test(w: World) -> None:
        assert (await w.http("POST", "/e/", b"{}")).status == 401

    run(test, event_key="")


def test_the_key_is_checked_before_the_body_is_read() -> None:
    async def test(w: World) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", w.port)
        writer.write(
            b"POST /e/wrong HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 1000000\r\n\r\n"
        )
        assert (await reader.readline()).startswith(b"HTTP/1.1 401")
        writer.close()

    run(test)


def test_the_default_key_is_not_taken_beyond_loopback() -> None:
    async def test(w: World) -> None:
        answer = await w.http("POST", "/e/local", json.dumps(added("x")).encode())
        assert (answer.status, answer.body["code"]) == (403, "unauthorized")
        assert "BRIDGE_INNGEST_EVENT_KEY" in answer.body["error"]
        assert await w.entries() == []

    run(test, event_key="local", exposed=True)


def test_beyond_loopback_the_event_key_is_enough() -> None:
    async def test(w: World) -> None:
        assert (await w.post(added("x"), host="bridge.lan:4100")).status == 200
        assert (await w.http("GET", "/admin/status")).status == 401

    run(test, exposed=True)


def test_the_default_key_is_taken_on_loopback() -> None:
    async def test(w: World) -> None:
        answer = await w.http("POST", "/e/local", json.dumps(added("x")).encode())
        assert answer.status == 200

    run(test, event_key="local")


@pytest.mark.parametrize(
    "headers", [{"origin": "http://evil.example"}, {"host": "evil.example:4100"}]
)
def test_pages_of_other_sites_send_no_events(headers: dict[str, str]) -> None:
    async def test(w: World) -> None:
        assert (await w.post(added("x"), **headers)).status == 403
        assert await w.entries() == []

    run(test)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "HEAD"])
def test_events_are_posted(method: str) -> None:
    async def test(w: World) -> None:
        answer = await w.http(method, "/e/evt-k3y%2F+")
        assert (answer.status, answer.headers["allow"]) == (405, "POST")

    run(test)


@pytest.mark.parametrize(
    ("body", "code", "pointer", "rule"),
    [
        (b"", "invalid_frame", "", "json"),
        (b"{", "invalid_frame", "", "json"),
        (b"name=a&data=b", "invalid_frame", "", "json"),
        (b"7", "invalid_request", "", "oneOf"),
        (b"{}", "invalid_request", "", "required"),
        (b'{"name":"other/1"}', "invalid_request", "", "required"),
        (b'{"name":"","data":{}}', "invalid_request", "/name", "minLength"),
        (b'{"name":"other/1","data":[]}', "invalid_request", "/data", "type"),
        (b'{"name":"other/1","data":{},"ts":1795380404}', "invalid_request", "/ts", "minimum"),
        (b'{"name":"other/1","data":{},"ts":"2026-11-26"}', "invalid_request", "/ts", "type"),
        (b'[{"name":"other/1","data":{}},{"data":{}}]', "invalid_request", "/1", "required"),
        (b'[{"name":"add/asked","data":{}},3]', "invalid_request", "/1", "type"),
    ],
)
def test_a_bad_body_is_refused_with_pointer_and_rule_and_nothing_is_applied(
    body: bytes, code: str, pointer: str, rule: str
) -> None:
    async def test(w: World) -> None:
        answer = await w.post(body)
        assert (answer.status, answer.body["code"]) == (400, code)
        assert (answer.body["detail"]["pointer"], answer.body["detail"]["rule"]) == (
            pointer,
            rule,
        )
        assert (answer.body["ids"], answer.body["status"]) == ([], 400)
        assert await w.entries() == []
        assert w.inngest.requests == []

    run(test)


def test_no_event_is_no_error() -> None:
    async def test(w: World) -> None:
        assert (await w.post([])).body == {"ids": [], "status": 200}

    run(test)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_refused(chunked: bool) -> None:
    async def test(w: World) -> None:
        body = json.dumps(other(pad="x" * MAX_BODY_BYTES)).encode()
        if chunked:
            framed = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
            reader, writer = await asyncio.open_connection("127.0.0.1", w.port)
            head = b"POST /e/evt-k3y%2F+ HTTP/1.1\r\nhost: localhost\r\n"
            writer.write(head + b"transfer-encoding: chunked\r\n\r\n" + framed)
            assert (await reader.readline()).startswith(b"HTTP/1.1 413")
            writer.close()
        else:
            answer = await w.post(body)
            assert (answer.status, answer.body["code"]) == (413, "limit_exceeded")
        assert w.inngest.requests == []

    run(test)


def test_more_events_than_an_array_may_have_are_refused() -> None:
    async def test(w: World) -> None:
        answer = await w.post([added("a")] * (MAX_EVENTS + 1))
        assert (answer.status, answer.body["code"]) == (413, "limit_exceeded")
        assert await w.entries() == []

    run(test)


def test_bodies_under_way_have_a_bound_together() -> None:
    async def test(w: World) -> None:
        head = b"POST /e/evt-k3y%%2F+ HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n"
        slow = []
        for _ in range(MAX_BODIES_BYTES // MAX_BODY_BYTES):
            _, writer = await asyncio.open_connection("127.0.0.1", w.port)
            writer.write(head % MAX_BODY_BYTES)
            slow.append(writer)
        await until(
            lambda: w.ingress.status()["bodies_bytes"] == MAX_BODIES_BYTES, "all are read"
        )
        answer = await w.post(added("a"))
        assert (answer.status, answer.body["code"]) == (503, "overloaded")
        assert answer.body["detail"]["queue"] == "ingress bodies"
        for writer in slow:
            writer.close()
        await until(lambda: w.ingress.status()["bodies_bytes"] == 0, "all are gone")
        assert (await w.post(added("a"))).status == 200

    run(test)


def test_a_body_as_large_as_inngest_takes_goes_on() -> None:
    async def test(w: World) -> None:
        answer = await w.post(other(pad="x" * (3 * 1024 * 1024 - 100)))
        assert answer.status == 200

    run(test)


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    async def test(w: World) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", w.port)
        writer.write(
            b"POST /e/evt-k3y%2F+ HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 9\r\n\r\n"
        )
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        writer.close()

    run(test, timeout_ms=50)
