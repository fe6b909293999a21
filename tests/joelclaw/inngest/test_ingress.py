"""The ingress on a real edge: what is routed, what goes on, what is refused, and how."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from bridge.joelclaw.inngest.ingress import (
    MAX_NAMES,
)
from tests.deadline import until
from tests.joelclaw.inngest.ingress_world import SEED, World, added, other, run
from tests.joelclaw.inngest.inngest_server import CUT, HANG, always, response


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
