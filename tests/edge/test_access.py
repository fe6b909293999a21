"""Who may connect, on a real edge; the rules themselves are in tests/test_access.py."""

from __future__ import annotations

import asyncio
import base64

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from bridge.errors import BridgeError
from bridge.journal.values import Route
from tests.edge.rig import rig, run
from tests.test_access import token_of


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


def test_health_says_that_redis_is_away_and_asks_it_once_for_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        async with rig() as r:
            asked = 0

            async def away() -> list[Route]:
                nonlocal asked
                asked += 1
                raise BridgeError("storage_unavailable", "Redis at 10.0.0.7:6379 is away")

            monkeypatch.setattr(r.journal, "routes", away)
            answers = await asyncio.gather(*(r.http("GET", "/health") for _ in range(20)))
            assert {status for status, _ in answers} == {503}
            assert all(body["status"] == "storage_unavailable" for _, body in answers)
            assert "10.0.0.7" not in str(answers)
            assert asked == 1

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
                "nodes": 0,
                "node_topics": 0,
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
        ("GET", "/socket/websocket", b"", 426, "invalid_request"),
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
