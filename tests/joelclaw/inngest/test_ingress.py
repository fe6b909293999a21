"""The ingress on a real edge: what is routed, what goes on, what is refused, and how."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from bridge.joelclaw.inngest.ingress import (
    MAX_BODIES_BYTES,
    MAX_BODY_BYTES,
    MAX_EVENTS,
    MAX_NAMES,
    MAX_PASSING,
)
from tests.deadline import until
from tests.joelclaw.inngest.ingress_world import World, run
from tests.joelclaw.inngest.inngest_server import CUT, HANG, Request, always, response
from tests.redis_server import free_port

SEED = "1795380404972,iVvyYVfEl1pWJg=="
JSON = "application/json"


def added(tag: str, **more: Any) -> dict[str, Any]:
    """Return an event that has a route."""
    return {"name": "add/asked", "data": {"tag": tag}, **more}


def other(n: int = 0, **more: Any) -> dict[str, Any]:
    """Return an event that has none."""
    return {"name": f"other/{n}", "data": {"n": n}, **more}


# -- routed ------------------------------------------------------------------------------------
def test_a_routed_event_is_a_command_that_is_committed_before_the_answer() -> None:
    async def test(w: World) -> None:
        answer = await w.post(added("x", ts=1795380404972))
        assert (answer.status, answer.body) == (200, {"ids": ["new-0"], "status": 200})
        assert answer.headers["content-type"] == "application/json"
        [entry] = await w.entries()
        assert (entry["id"], entry["key"], entry["operation"], entry["request"]) == (
            "new-0",
            "a:b",
            "add",
            {"n": 1, "tag": "x"},
        )
        assert w.inngest.requests == []

    run(test)


def test_a_routed_event_needs_no_inngest() -> None:
    async def test(w: World) -> None:
        assert (await w.post(added("x"))).status == 200

    run(test, url="")


def test_the_events_of_an_array_are_committed_in_its_order() -> None:
    async def test(w: World) -> None:
        answer = await w.post([added("a"), added("b"), added("c")])
        assert answer.body == {"ids": ["new-0", "new-1", "new-2"], "status": 200}
        assert await w.tags() == ["a", "b", "c"]

    run(test)


def test_an_event_with_an_id_is_committed_once_whoever_repeats_it() -> None:
    async def test(w: World) -> None:
        event = added("x", id="wf-1")
        answers = [
            await w.post(event),
            await w.post(event, x_inngest_event_id_seed=SEED),
            await w.post([event, event]),
        ]
        [id] = answers[0].body["ids"]
        assert [answer.body["ids"] for answer in answers] == [[id], [id], [id, id]]
        assert await w.tags() == ["x"]

    run(test)


def test_the_same_id_with_other_data_is_refused() -> None:
    async def test(w: World) -> None:
        await w.post(added("x", id="wf-1"))
        answer = await w.post(added("y", id="wf-1"))
        assert (answer.status, answer.body["code"]) == (409, "idempotency_conflict")
        assert await w.tags() == ["x"]

    run(test)


def test_the_sdks_seed_makes_a_repeat_of_its_request_harmless() -> None:
    async def test(w: World) -> None:
        events = [added("a"), added("a"), added("b")]
        first = await w.post(events, x_inngest_event_id_seed=SEED)
        again = await w.post(events, x_inngest_event_id_seed=SEED)
        assert first.body == again.body
        assert await w.tags() == ["a", "a", "b"]
        await w.post(events, x_inngest_event_id_seed=SEED.replace("1795", "1796"))
        assert await w.tags() == ["a", "a", "b"] * 2

    run(test)


def test_data_off_the_operations_contract_is_refused_before_anything_is_applied() -> None:
    async def test(w: World) -> None:
        bad = {"name": "add/asked", "data": {"n": "many"}}
        answer = await w.post([added("a"), other(), bad])
        assert (answer.status, answer.body["code"]) == (400, "invalid_request")
        assert (answer.body["detail"]["pointer"], answer.body["detail"]["rule"]) == (
            "/2/data/n",
            "type",
        )
        assert await w.entries() == []
        assert w.inngest.requests == []
        single = await w.post(bad)
        assert single.body["detail"]["pointer"] == "/data/n"

    run(test)


@pytest.mark.parametrize(
    ("how", "status", "code"), [("refuse", 400, "refused"), ("crash", 500, "runtime_fault")]
)
def test_a_command_that_fails_is_told_to_the_sender(how: str, status: int, code: str) -> None:
    async def test(w: World) -> None:
        answer = await w.post({"name": "fail/asked", "data": {"how": how}})
        assert (answer.status, answer.body["code"]) == (status, code)
        assert (answer.body["ids"], answer.body["status"]) == ([], status)
        assert answer.body["error"] == answer.body["message"]

    run(test)


def test_a_failure_in_the_middle_says_what_is_applied_and_a_repeat_applies_the_rest() -> None:
    async def test(w: World) -> None:
        events = [added("a", id="1"), other(), {"name": "fail/asked", "data": {"how": "crash"}}]
        answer = await w.post([*events, added("b", id="2")])
        assert (answer.status, answer.body["code"]) == (500, "runtime_fault")
        assert (answer.body["detail"]["event"], answer.body["detail"]["applied"]) == (2, [0])
        assert "event 2 ('fail/asked')" in answer.body["error"]
        assert await w.tags() == ["a"]
        assert w.inngest.requests == []
        assert w.events == {
            "add/asked": {"routed": 1, "refused": 1},
            "fail/asked": {"refused": 1},
            "other/0": {"refused": 1},
        }
        await w.post([added("a", id="1"), other(), added("b", id="2")])
        assert await w.tags() == ["a", "b"]
        assert w.inngest.names == ["other/0"]

    run(test)


def test_a_worker_without_the_runtime_says_that_a_repeat_is_worth_it() -> None:
    async def test(w: World) -> None:
        await w.journal.set_route("counter", "elixir", None)
        answer = await w.post(added("x"))
        assert (answer.status, answer.body["code"], answer.body["retryable"]) == (
            503,
            "runtime_unavailable",
            True,
        )

    run(test)


def test_a_defect_of_ours_is_counted_and_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(w: World) -> None:
        async def broken(*arguments: Any, **more: Any) -> Any:
            raise ZeroDivisionError

        monkeypatch.setattr(w.journal, "read", broken)
        answer = await w.post(added("x"))
        assert (answer.status, answer.body["code"]) == (503, "internal")
        assert w.count("defect") == 1

    run(test)


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


# -- watched -----------------------------------------------------------------------------------
def test_the_counts_of_names_are_bounded_and_routed_names_are_always_among_them() -> None:
    async def test(w: World) -> None:
        odd = [{"name": name, "data": {}} for name in ("a\nb", "x" * 101)]
        await w.post(odd + [other(n) for n in range(MAX_NAMES + 10)])
        await w.post(added("x"))
        counts = w.events
        assert len(w.ingress.status()["events"]) == MAX_NAMES  # "(other)" among them
        assert counts["add/asked"] == {"routed": 1}
        assert sum(c.get("passed", 0) for c in counts.values()) == MAX_NAMES + 12
        assert "a\nb" not in counts
        assert w.telemetry.counts() == {
            "ingress{fate=passed}": MAX_NAMES + 12,
            "ingress{fate=routed}": 1,
            "committed{reason=owner,runtime=python,subsystem=counter}": 1,
        }

    run(test)


def test_refusals_are_counted_by_code() -> None:
    async def test(w: World) -> None:
        await w.http("POST", "/e/wrong", b"{}")
        await w.post({})
        assert w.telemetry.counts() == {
            "ingress_refused{code=invalid_request}": 1,
            "ingress_refused{code=unauthorized}": 1,
        }

    run(test)


def test_the_key_is_in_no_answer_no_status_and_no_telemetry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bridge.joelclaw.inngest.api.TIMEOUT_S", 0.05)

    async def test(w: World) -> None:
        said: list[str] = []
        w.telemetry.attach(lambda name, labels: said.append(f"{name} {labels}"))
        echo = {"ids": [], "status": 400, "error": "no /e/evt-k3y%2F%2B and no evt-k3y/+"}
        for answer in (response(200, echo), CUT, HANG):
            w.inngest.answer = always(answer)
            said.append((await w.post(other())).raw.decode())
        said.append((await w.http("GET", "/e/evt-k3y%2F+")).raw.decode())
        said.append(json.dumps(w.ingress.status()))
        assert "no answer within" in " ".join(said)
        assert "evt-k3y" not in " ".join(said)

    run(test)


# -- the end -----------------------------------------------------------------------------------
def test_a_worker_that_leaves_answers_what_it_has_begun_and_sends_new_calls_on() -> None:
    async def test(w: World) -> None:
        body = json.dumps(added("late")).encode()
        head = f"POST /e/evt-k3y%2F+ HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}"
        call = f"{head}\r\n\r\n".encode()
        begun, begun_writer = await asyncio.open_connection("127.0.0.1", w.port)
        idle, idle_writer = await asyncio.open_connection("127.0.0.1", w.port)
        idle_writer.write(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        await idle.readuntil(b'{"status":"ok"}')
        begun_writer.write(call + body[:10])  # the rest comes while it drains
        while (await w.http("GET", "/admin/status")).body["edge"]["in_flight"] != 1:
            pass
        draining = asyncio.create_task(w.edge.drain())
        await until(lambda: w.edge.draining)
        idle_writer.write(call + body)
        refused = await idle.read()  # to its end: the connection is closed
        assert refused.startswith(b"HTTP/1.1 503")
        assert b'"code":"draining"' in refused
        assert not draining.done()
        begun_writer.write(body[10:])
        assert (await begun.readline()) == b"HTTP/1.1 200 OK\r\n"
        await draining
        assert await w.tags() == ["late"]
        begun_writer.close()
        idle_writer.close()

    run(test)
