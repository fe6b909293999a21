"""Activities that are somebody's HTTP service or Inngest function, over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bridge.activities.activity import ActivityAway, ActivityFailed, Attempt, NotRetryable
from bridge.activities.http import HttpActivities
from bridge.joelclaw.inngest.activities import InngestActivities
from bridge.joelclaw.inngest.api import EventApi
from tests.joelclaw.inngest.inngest_server import (
    CUT,
    InngestServer,
    Request,
    always,
    response,
)

REQUEST = {"text": "é"}


def attempt(number: int = 1) -> Attempt:
    return Attempt("m/0", "asker", "k", "service", number, REQUEST, 5000, 0)


def http(
    answer: Callable[[Request], bytes],
    test: Callable[[HttpActivities, InngestServer], Awaitable[None]],
) -> None:
    async def main() -> None:
        server = InngestServer()
        server.answer = answer
        activities = HttpActivities({"asker": await server.start() + "/agents/"})
        try:
            await test(activities, server)
        finally:
            await activities.close()
            await server.stop()

    asyncio.run(main())


def test_a_service_is_posted_the_request_and_its_answer_is_the_reply() -> None:
    async def test(activities: HttpActivities, server: InngestServer) -> None:
        assert activities.available("asker", "service")
        assert not activities.available("other", "service")
        assert await activities.perform(attempt(2)) == {"done": True}
        [request] = server.requests
        assert (request.method, request.target) == ("POST", "/agents/service")
        assert request.body == '{"text":"é"}'.encode()
        assert request.headers["idempotency-key"] == '"m/0"'
        assert request.headers["bridge-attempt"] == "2"

    http(always(response(200, {"done": True})), test)


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (response(500, {}), ActivityFailed, ": 500 "),
        (response(429, {}), ActivityFailed, ": 429 "),
        (response(404, {}), ActivityFailed, ": 404 "),
        (response(422, {"why": "no"}), NotRetryable, ': 422 {"why": "no"}'),
        (response(302, {}), NotRetryable, ": 302 "),
        (CUT, ActivityFailed, "RemoteProtocolError"),
        (b"HTTP/1.1 200 -\r\ncontent-length: 2\r\n\r\n<a", NotRetryable, "expected JSON"),
    ],
)
def test_what_else_it_answers_may_pass_or_not(
    answer: bytes, kind: type[ActivityFailed], text: str
) -> None:
    async def test(activities: HttpActivities, server: InngestServer) -> None:
        with pytest.raises(kind) as raised:
            await activities.perform(attempt())
        assert type(raised.value) is kind
        assert text in str(raised.value)

    http(always(answer), test)


def test_a_service_that_is_not_there_is_waited_for() -> None:
    async def test(activities: HttpActivities, server: InngestServer) -> None:
        await server.stop()
        with pytest.raises(ActivityAway):
            await activities.perform(attempt())

    http(always(b""), test)


def inngest(
    runs: list[Any], test: Callable[[InngestActivities, InngestServer], Awaitable[None]]
) -> None:
    """Have Inngest take an event as `E1`, and tell of its runs in turn."""

    def answer(request: Request) -> bytes:
        if request.method == "POST":
            return response(200, {"ids": ["E1"], "status": 200})
        assert request.target == "/v1/events/E1/runs"
        return response(200, {"data": runs.pop(0)})

    async def main() -> None:
        server = InngestServer()
        server.answer = answer
        api = EventApi(await server.start(), "key")
        try:
            await test(InngestActivities(api, {"asker": "agents/"}), server)
        finally:
            await api.close()
            await server.stop()

    asyncio.run(main())


def test_an_event_starts_a_function_and_the_output_of_its_run_is_the_reply() -> None:
    async def test(activities: InngestActivities, server: InngestServer) -> None:
        assert await activities.perform(attempt(2)) == {"done": True}
        [event] = server.requests[0].events
        assert event == {"name": "agents/service", "data": REQUEST, "id": "m/0/2"}

    running = {"run_id": "R1", "status": "Running"}
    done = {"run_id": "R1", "status": "Completed", "output": {"done": True}}
    inngest([[], [running], [done]], test)


@pytest.mark.parametrize(
    ("run", "kind"),
    [
        ({"status": "Failed", "output": {"message": "no"}}, ActivityFailed),
        ({"status": "Cancelled"}, NotRetryable),
    ],
)
def test_a_run_that_failed_may_be_started_again_one_that_was_cancelled_not(
    run: Any, kind: type[ActivityFailed]
) -> None:
    async def test(activities: InngestActivities, server: InngestServer) -> None:
        with pytest.raises(kind) as raised:
            await activities.perform(attempt())
        assert type(raised.value) is kind

    inngest([[run]], test)


def test_an_event_that_inngest_does_not_take_starts_nothing() -> None:
    async def test(activities: InngestActivities, server: InngestServer) -> None:
        server.answer = always(response(400, {"error": "no"}))
        with pytest.raises(NotRetryable):
            await activities.perform(attempt())
        server.answer = always(response(503, {}))
        with pytest.raises(ActivityFailed):
            await activities.perform(attempt())
        await server.stop()
        with pytest.raises(ActivityAway):
            await activities.perform(attempt())

    inngest([], test)
