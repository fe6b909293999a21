"""Events without a route of ours, on their way to Inngest and back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bridge.joelclaw.inngest.ingress import (
    MAX_PASSING,
)
from tests.deadline import until
from tests.joelclaw.inngest.ingress_world import SEED, World, added, other, run
from tests.joelclaw.inngest.inngest_server import CUT, HANG, Request, always, response
from tests.redis_server import free_port


# -- passed on ---------------------------------------------------------------------------------
def test_what_has_no_route_goes_on_byte_for_byte_with_its_headers() -> None:
    async def test(w: World) -> None:
        body = (
            b'[ {"name":"other/1", "data":{"f":1.0,"e":1e3,"u":"\\u00e9"}},\n'
            b'{"ts":1795380404972,"name":"other/2","data":{}} ]'
        )
        answer = await w.post(
            body,
            content_type="text/plain;charset=UTF-8",
            x_inngest_event_id_seed=SEED,
            x_inngest_sdk="inngest-js:v3.54.2",
            traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            cookie="secret",
            user_agent="inngest-js:v3.54.2",
        )
        assert answer.raw == b'{"ids": ["0:other/1", "1:other/2"], "status": 200}'
        assert answer.headers["x-inngest-server-kind"] == "dev"
        [request] = w.inngest.requests
        assert (request.method, request.target, request.body) == (
            "POST",
            "/e/evt-k3y%2F%2B",
            body,
        )
        assert request.headers["content-type"] == "text/plain;charset=UTF-8"
        assert request.headers["x-inngest-event-id-seed"] == SEED
        assert request.headers["x-inngest-sdk"] == "inngest-js:v3.54.2"
        assert request.headers["user-agent"] == "inngest-js:v3.54.2"
        assert request.headers["traceparent"].startswith("00-4bf9")
        assert "cookie" not in request.headers
        assert request.headers["host"] != f"127.0.0.1:{w.port}"
        assert await w.entries() == []

    run(test)


def test_an_array_is_split_and_the_ids_come_in_the_senders_order() -> None:
    async def test(w: World) -> None:
        body = (
            b'[{"name":"other/1","data":{"f":1.50}},{"name":"add/asked","data":{"tag":"x, ]"}},'
            b'\n {"name":"other/2" , "data":{"s":"}],[{"}} ]'
        )
        answer = await w.post(body, x_inngest_event_id_seed=SEED)
        assert answer.status == 200
        assert answer.body["ids"][0] == "0:other/1"
        assert answer.body["ids"][2] == "1:other/2"
        [entry] = await w.entries()
        assert answer.body["ids"][1] == entry["id"]
        [request] = w.inngest.requests
        assert request.body == (
            b'[{"name":"other/1","data":{"f":1.50}},{"name":"other/2" , "data":{"s":"}],[{"}}]'
        )
        assert request.headers["x-inngest-event-id-seed"] == SEED
        assert w.events == {
            "add/asked": {"routed": 1},
            "other/1": {"passed": 1},
            "other/2": {"passed": 1},
        }

    run(test)


def test_what_our_runtimes_do_not_share_is_inngests_to_judge_unless_it_has_a_route() -> None:
    async def test(w: World) -> None:
        body = b'{"name":"tweet/seen","data":{"id":1234567890123456789,"t":"\\ud83d"}}'
        assert (await w.post(body)).status == 200
        assert w.inngest.requests[0].body == body
        for event in (
            b'{"name":"add/asked","data":{"n":1234567890123456789}}',
            b'[{"name":"tweet/seen","data":{"id":1234567890123456789}},'
            b'{"name":"add/asked","data":{}}]',
            b'{"name":"tweet/seen","name":"add/asked","data":{}}',
            b'{"data":{"id":1234567890123456789}}',
        ):
            answer = await w.post(event)
            assert answer.status == 400, event
        assert len(w.inngest.requests) == 1
        assert await w.entries() == []

    run(test)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"ids": [""], "status": 400, "error": "event name is reserved for internal use"}),
        (401, {"status": 401, "message": "", "error": "Event key not found"}),
        (500, {"oops": True}),
    ],
)
def test_inngests_refusal_is_passed_on_as_it_is(status: int, body: Any) -> None:
    async def test(w: World) -> None:
        w.inngest.answer = always(response(status, body, "content-type: text/x-own"))
        answer = await w.post([other(), added("x", id="1")])
        assert (answer.status, answer.body) == (status, body)
        assert answer.headers["content-type"] == "text/x-own"
        assert w.events == {"other/0": {"refused": 1}, "add/asked": {"routed": 1}}
        # A repeat of the whole array is what the sender needs: the command is applied once.
        w.inngest.answer = always(response(200, {"ids": ["i"], "status": 200}))
        assert (await w.post([other(), added("x", id="1")])).body["ids"][0] == "i"
        assert await w.tags() == ["x"]

    run(test)


@pytest.mark.parametrize(
    "answer",
    [
        response(200, {}),
        response(200, {"ids": ["a", "b"], "status": 200}),
        response(200, {"ids": [1], "status": 200}),
        response(200, {"ids": ["a"], "status": 400}),
        response(200, {"ids": ["a"], "status": 200, "error": "no"}),
        response(200, "<html>"),
        CUT,
    ],
)
def test_an_answer_that_says_nothing_of_the_events_is_no_success(answer: bytes) -> None:
    async def test(w: World) -> None:
        w.inngest.answer = always(answer)
        told = await w.post(other())
        assert (told.status, told.body["code"]) == (503, "outcome_unknown")
        assert w.events == {"other/0": {"refused": 1}}

    run(test)


def test_an_inngest_that_is_away_is_told_and_nothing_of_it_is_swallowed() -> None:
    async def test(w: World) -> None:
        answer = await w.post(other())
        assert (answer.status, answer.body["code"]) == (503, "runtime_unavailable")
        assert answer.body["retryable"] is True
        assert "evt-k3y" not in answer.raw.decode()

    run(test, url=f"http://127.0.0.1:{free_port()}")


def test_with_neither_route_nor_inngest_an_event_is_refused_and_nothing_is_applied() -> None:
    async def test(w: World) -> None:
        answer = await w.post([added("x"), other()])
        assert (answer.status, answer.body["code"]) == (503, "runtime_unavailable")
        assert "BRIDGE_INNGEST_ROUTES" in answer.body["error"]
        assert "'other/0'" in answer.body["error"]
        assert await w.entries() == []

    run(test, url="")


def test_an_inngest_that_hangs_is_given_up_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.joelclaw.inngest.api.TIMEOUT_S", 0.05)

    async def test(w: World) -> None:
        w.inngest.answer = always(HANG)
        answer = await w.post(other())
        assert (answer.status, answer.body["code"]) == (503, "outcome_unknown")
        assert "no answer within 0.05 s" in answer.body["error"]

    run(test)


def test_while_inngest_hangs_routed_events_go_on_and_too_many_others_are_overload() -> None:
    async def test(w: World) -> None:
        w.inngest.answer = always(HANG)
        calls = [asyncio.create_task(w.post(other())) for _ in range(MAX_PASSING)]
        await until(lambda: w.ingress.status()["passing"] == MAX_PASSING)
        answer = await w.post([added("no"), other()])
        assert (answer.status, answer.body["code"]) == (503, "overloaded")
        assert (await w.post(added("x"))).status == 200
        assert await w.tags() == ["x"]
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    run(test)


def test_a_url_that_leads_back_to_the_bridge_is_found_out() -> None:
    port = free_port()

    async def test(w: World) -> None:
        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there, on = await asyncio.open_connection("127.0.0.1", w.port)
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
            body = await reader.readexactly(length)
            on.write(head.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n").encode() + body)
            writer.write(await there.read())
            on.close()
            writer.close()

        server = await asyncio.start_server(relay, "127.0.0.1", port)
        answer = await w.post(other())
        server.close()
        assert answer.status == 503
        assert "leads back to the bridge" in answer.body["error"]

    run(test, url=f"http://127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/dev"),
        ("POST", "/fn/register?deployId=7"),
        ("POST", "/v0/gql"),
        ("GET", "/v1/events/01J/runs?limit=2"),
    ],
)
def test_what_sdk_and_cli_ask_of_the_same_url_goes_on(method: str, target: str) -> None:
    async def test(w: World) -> None:
        def answer(request: Request) -> bytes:
            return response(207, {"asked": request.target}, "content-type: application/x-own")

        w.inngest.answer = answer
        told = await w.http(method, target, b"{}", authorization="Bearer signkey")
        assert (told.status, told.body) == (207, {"asked": target})
        assert told.headers["content-type"] == "application/x-own"
        [request] = w.inngest.requests
        assert (request.method, request.target, request.body) == (method, target, b"{}")
        assert request.headers["authorization"] == "Bearer signkey"

    run(test)


@pytest.mark.parametrize("given", [{"url": ""}, {"exposed": True}])
def test_without_an_inngest_and_beyond_loopback_only_events_are_taken(given: Any) -> None:
    async def test(w: World) -> None:
        for target in ("/dev", "/fn/register", "/v0/gql", "/development"):
            assert (await w.http("POST", target)).status == 404
        assert w.inngest.requests == []

    run(test, **given)
