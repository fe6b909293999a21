"""Who may connect: tokens, origins, hosts; checked purely and on a real edge."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from bridge.edge.access import AccessRefused, Caller, Gate, check_exposure, is_loopback
from bridge.settings import BadSetting, Settings
from tests.deadline import DEADLINE_S
from tests.edge.rig import rig, run


def caller(**given: Any) -> Caller:
    return Caller(
        **{"host": "localhost:4100", "origin": "", "authorization": "", "params": {}, **given}
    )


def gate(**given: Any) -> Gate:
    return Gate.of(Settings(**given))


def token_of(text: str) -> str:
    return "base64url.bearer.phx." + text.rstrip("=")


def test_a_gateway_beyond_loopback_needs_a_token() -> None:
    with pytest.raises(BadSetting, match="BRIDGE_TOKEN"):
        check_exposure(Settings(host="0.0.0.0"))
    check_exposure(Settings(host="0.0.0.0", token="secret"))
    check_exposure(Settings(host="127.0.0.1"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_loopback_is_recognised(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.1", "example.com", "127.evil.com"])
def test_other_addresses_are_not_loopback(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "given",
    [
        {"params": {"token": "s+/é"}},
        {"authorization": "Bearer s+/é".encode().decode("latin-1")},
        {"subprotocols": ("phoenix", token_of(base64.b64encode("s+/é".encode()).decode()))},
        {"subprotocols": (token_of(base64.urlsafe_b64encode("s+/é".encode()).decode()),)},
    ],
)
def test_the_token_is_taken_from_each_place(given: dict[str, Any]) -> None:
    gate(token="s+/é").check_token(caller(**given))


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"params": {"token": ""}},
        {"params": {"token": "secre"}},
        {"authorization": "Basic secret"},
        {"authorization": "secret"},
        {"subprotocols": ("phoenix", "secret")},
        {"subprotocols": ("base64url.bearer.phx.***",)},
    ],
)
def test_without_the_token_nobody_passes(given: dict[str, Any]) -> None:
    with pytest.raises(AccessRefused) as refused:
        gate(token="secret").check_token(caller(**given))
    assert (refused.value.status, refused.value.error.code) == (401, "unauthorized")
    assert "secret" not in str(refused.value.error.response())


@pytest.mark.parametrize(
    ("settings", "host", "origin"),
    [
        ({}, "localhost:4100", ""),
        ({}, "localhost:4100", "http://localhost:4100"),
        ({}, "LOCALHOST:4100", "http://localhost:4100"),
        ({}, "[::1]:4100", "http://[::1]:4100"),
        ({}, "127.0.0.1", "http://127.0.0.1"),
        (
            {"origins": "https://app.example, http://b:1/"},
            "localhost:4100",
            "https://app.example",
        ),
        ({"origins": "https://app.example, http://b:1/"}, "localhost:4100", "http://b:1"),
        ({"origins": "https://app.example"}, "app.example", "https://app.example"),
        ({"host": "0.0.0.0", "token": "t"}, "bridge.lan:4100", ""),
        ({"host": "0.0.0.0", "token": "t"}, "bridge.lan", "https://bridge.lan"),
        ({"host": "0.0.0.0", "token": "t"}, "bridge.lan:443", "https://bridge.lan"),
    ],
)
def test_the_same_host_and_listed_origins_pass(
    settings: dict[str, str], host: str, origin: str
) -> None:
    gate(**settings).check_page(caller(host=host, origin=origin))


@pytest.mark.parametrize(
    ("settings", "host", "origin"),
    [
        ({}, "localhost:4100", "http://evil.example"),
        ({}, "localhost:4100", "http://localhost:9999"),
        ({}, "localhost:4100", "http://localhost"),
        ({}, "localhost:4100", "null"),
        ({}, "localhost:4100", "http://[bad"),
        ({}, "evil.example:4100", ""),
        ({}, "evil.example:4100", "http://evil.example:4100"),
        ({"origins": "https://app.example"}, "localhost:4100", "http://app.example"),
        ({"host": "0.0.0.0", "token": "t"}, "bridge.lan:4100", "http://bridge.lan:8080"),
    ],
)
def test_pages_of_other_sites_are_refused(
    settings: dict[str, str], host: str, origin: str
) -> None:
    with pytest.raises(AccessRefused) as refused:
        gate(**settings).check_page(caller(host=host, origin=origin))
    assert (refused.value.status, refused.value.error.code) == (403, "unauthorized")


def test_a_socket_needs_the_token() -> None:
    async def main() -> None:
        async with rig(token="s3cret/+") as r:
            with pytest.raises(InvalidStatus) as refused:
                await connect(r.url(), proxy=None)
            assert refused.value.response.status_code == 401
            async with r.client("vsn=2.0.0&token=s3cret%2F%2B") as client:
                await client.join("counter:a")
            header = {"Authorization": "Bearer s3cret/+"}
            async with r.client(additional_headers=header) as client:
                await client.join("counter:a")

    run(main())


def test_a_token_in_the_sub_protocol_is_accepted_and_phoenix_is_echoed() -> None:
    async def main() -> None:
        async with rig(token="s3cret") as r:
            token = token_of(base64.b64encode(b"s3cret").decode())
            async with r.client(subprotocols=["phoenix", token]) as client:
                assert client.connection.subprotocol == "phoenix"
                await client.join("counter:a")

    run(main())


def test_a_page_of_another_site_gets_no_socket() -> None:
    async def main() -> None:
        async with rig() as r:
            with pytest.raises(InvalidStatus) as refused:
                await connect(r.url(), proxy=None, origin=Origin("http://evil.example"))
            assert refused.value.response.status_code == 403
            async with r.client(origin=Origin(f"http://127.0.0.1:{r.port}")) as client:
                await client.join("counter:a")

    run(main())


def test_health_needs_no_token_and_tells_no_secrets() -> None:
    async def main() -> None:
        async with rig(token="s3cret") as r:
            assert await r.http("GET", "/health") == (200, {"status": "ok"})
            assert await r.http("HEAD", "/health") == (200, None)

    run(main())


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/admin/status"),
        ("PUT", "/admin/routes/counter"),
        ("GET", "/admin/elsewhere"),
    ],
)
def test_admin_calls_need_the_token_and_no_foreign_origin(method: str, path: str) -> None:
    async def main() -> None:
        async with rig(token="s3cret") as r:
            body = b'{"owner":"elixir"}'
            status, error = await r.http(method, path, body)
            assert (status, error["code"]) == (401, "unauthorized")
            token = {"authorization": "Bearer s3cret"}
            status, error = await r.http(method, path, body, origin="http://evil", **token)
            assert (status, error["code"]) == (403, "unauthorized")
            assert [route.epoch for route in await r.journal.routes()] == [1, 1]

    run(main())


def test_a_rebound_host_name_is_refused() -> None:
    async def main() -> None:
        async with rig() as r:
            status, _ = await r.http("GET", "/admin/status", host="evil.example")
            assert status == 403

    run(main())


def test_the_status_counts_sockets_and_topics() -> None:
    async def main() -> None:
        async with rig() as r, r.client() as client:
            await client.join("counter:a")
            status, body = await r.http("GET", "/admin/status")
            assert status == 200
            assert body["edge"] == {
                "draining": False,
                "sockets": 1,
                "topics": 1,
                "in_flight": 0,
                "queued_frames": 0,
                "followers": {"counter": 1},
            }
            assert [route["subsystem"] for route in body["routes"]] == ["counter", "other"]

    run(main())


def test_a_route_is_changed() -> None:
    async def main() -> None:
        async with rig() as r:
            status, route = await r.http("PUT", "/admin/routes/counter", b'{"owner":"elixir"}')
            assert status == 200
            assert (route["owner"], route["fallback"], route["epoch"]) == ("elixir", None, 2)

    run(main())


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("PUT", "/admin/routes/nobody", b'{"owner":"elixir"}', 404, "unknown_topic"),
        ("PUT", "/admin/routes/counter", b'{"owner":"ruby"}', 400, "invalid_request"),
        ("PUT", "/admin/routes/counter", b"[]", 400, "invalid_request"),
        ("PUT", "/admin/routes/counter", b"{", 400, "invalid_frame"),
        ("PUT", "/admin/routes/counter", b" " * 70_000, 413, "limit_exceeded"),
        ("GET", "/admin/routes/counter", b"", 405, "invalid_request"),
        ("POST", "/admin/status", b"", 405, "invalid_request"),
        ("GET", "/elsewhere", b"", 404, "unknown_topic"),
        ("GET", "/socket/websocket", b"", 404, "unknown_topic"),
    ],
)
def test_a_wrong_call_is_answered_with_an_error(
    method: str, path: str, body: bytes, status: int, code: str
) -> None:
    async def main() -> None:
        async with rig() as r:
            given, error = await r.http(method, path, body)
            assert (given, error["code"]) == (status, code)
            assert set(error) == {"code", "message", "retryable", "detail"}

    run(main())


def test_a_connection_that_sends_no_request_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.edge.serve.REQUEST_S", 0.05)

    async def work() -> None:
        async with rig() as edge:
            reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
            writer.write(b"GET /health HTTP/1.1\r\nHost: loc")
            async with asyncio.timeout(DEADLINE_S):
                assert await reader.read() == b""
            writer.close()

    run(work())
