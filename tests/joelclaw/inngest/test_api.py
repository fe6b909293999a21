"""The executor of `inngest` effects, over HTTP: what it sends, what it reads, what it says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from bridge.joelclaw.inngest.api import EventApi, Inngest
from bridge.journal.values import OutboxEntry
from bridge.targets import EffectFailed, TargetAway
from tests.deadline import DEADLINE_S
from tests.joelclaw.inngest.inngest_server import CUT, HANG, InngestServer, always, response
from tests.redis_server import free_port

KEY = "s3cret/ké?y"
QUOTED = "s3cret%2Fk%C3%A9%3Fy"
ENTRY = OutboxEntry(
    id="m/0",
    lane="k",
    subsystem="counter",
    key="k",
    kind="inngest",
    effect={"effect": "inngest", "name": "a/b", "data": {"é": 1}, "id": "a/b/7"},
    committed_ms=1_795_380_404_972,
)


def run(test: Callable[[InngestServer, Inngest], Awaitable[None]], url: str = "") -> None:
    async def main() -> None:
        server = InngestServer()
        started_at = await server.start()
        api = EventApi(url or f"{started_at}/", KEY)
        try:
            async with asyncio.timeout(DEADLINE_S):
                await test(server, Inngest(api))
        finally:
            await api.close()
            await server.stop()

    asyncio.run(main())


async def failed(inngest: Inngest) -> EffectFailed | TargetAway:
    try:
        await inngest([ENTRY])
    except (EffectFailed, TargetAway) as error:
        text = str(error)
        if "s3cret" in text:
            pytest.fail(text)
        return error
    pytest.fail("it was taken")


def test_an_effect_is_one_event_with_its_id_and_the_time_of_its_commit() -> None:
    async def test(server: InngestServer, inngest: Inngest) -> None:
        await inngest([ENTRY])
        [request] = server.requests
        assert (request.method, request.target) == ("POST", f"/e/{QUOTED}")
        assert request.headers["content-type"] == "application/json"
        assert request.body.decode() == (
            '{"name":"a/b","data":{"é":1},"id":"a/b/7","ts":1795380404972}'
        )

    run(test)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, {}),
        (200, []),
        (200, {"ids": [], "status": 200}),
        (200, {"ids": ["a", "b"], "status": 200}),
        (200, {"ids": [None], "status": 200}),
        (200, {"ids": "a", "status": 200}),
        (200, {"ids": ["a"], "status": 400}),
        (200, {"ids": ["a"], "status": 200, "error": "no"}),
        (201, {"ids": ["a"], "status": 200}),
        (301, {}),
        (500, {"ids": ["a"], "status": 200}),
        (401, {}),
        (403, {}),
        (404, "404 page not found"),
        (405, {}),
        (408, {}),
        (425, {}),
        (429, {}),
        (503, {}),
    ],
)
def test_anything_but_one_id_and_status_200_is_waited_out(status: int, body: Any) -> None:
    async def test(server: InngestServer, inngest: Inngest) -> None:
        server.answer = always(response(status, body))
        error = await failed(inngest)
        assert 'expected 200 {"ids": [1 of them], "status": 200}, got ' in str(error)
        assert f"got {status} " in str(error)
        assert isinstance(error, TargetAway)

    run(test)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_what_inngest_will_never_take_is_final(status: int) -> None:
    async def test(server: InngestServer, inngest: Inngest) -> None:
        body = {"status": status, "message": "", "error": f"not with {KEY} and not at {QUOTED}"}
        server.answer = always(response(status, body))
        error = await failed(inngest)
        assert isinstance(error, EffectFailed)
        assert error.final
        assert '"not with *** and not at ***"' in str(error)

    run(test)


def test_an_answer_in_full_is_cut_in_the_error() -> None:
    async def test(server: InngestServer, inngest: Inngest) -> None:
        server.answer = always(response(500, "x" * 10_000))
        assert len(str(await failed(inngest))) < 400

    run(test)


def test_a_connection_that_ends_without_an_answer_is_tried_again() -> None:
    async def test(server: InngestServer, inngest: Inngest) -> None:
        server.answer = always(CUT)
        error = await failed(inngest)
        assert "RemoteProtocolError" in str(error)
        assert isinstance(error, TargetAway)

    run(test)


def test_an_inngest_that_hangs_is_given_up_and_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bridge.joelclaw.inngest.api.TIMEOUT_S", 0.05)

    async def test(server: InngestServer, inngest: Inngest) -> None:
        server.answer = always(HANG)
        error = await failed(inngest)
        assert str(error).endswith(": no answer within 0.05 s")
        assert isinstance(error, TargetAway)

    run(test)


def test_an_inngest_that_is_away_is_tried_again() -> None:
    url = f"http://someone:passw0rd@127.0.0.1:{free_port()}/base/"

    async def test(server: InngestServer, inngest: Inngest) -> None:
        error = await failed(inngest)
        assert str(error).startswith(url.replace("someone:passw0rd@", "")[:-1] + ": ConnectError")
        assert isinstance(error, TargetAway)

    run(test, url)


def test_several_effects_are_one_array_in_order_and_need_an_id_each() -> None:
    async def test(server: InngestServer, inngest: Inngest) -> None:
        entries = [replace(ENTRY, effect={**ENTRY.effect, "id": str(n)}) for n in range(3)]
        await inngest(entries)
        [request] = server.requests
        assert request.body.startswith(b"[")
        assert [event["id"] for event in request.events] == ["0", "1", "2"]
        server.answer = always(response(200, {"ids": ["a", "b"], "status": 200}))
        with pytest.raises(TargetAway, match="3 of them"):
            await inngest(entries)

    run(test)


@pytest.mark.parametrize(
    ("headers", "wait_ms"),
    [
        (("Retry-After: 7",), 7000),
        (("Retry-After: 99999999",), 3_600_000),  # no longer than an hour
        (
            (
                "Date: Fri, 27 Nov 2026 10:00:00 GMT",
                "Retry-After: Fri, 27 Nov 2026 10:02:00 GMT",
            ),
            120_000,
        ),
        (("Retry-After: Fri, 27 Nov 2026 10:02:00 GMT",), 0),
        (("Retry-After: soon",), 0),
        (("Retry-After: -1",), 0),
        ((), 0),
    ],
)
def test_the_pause_that_is_asked_for_is_read(headers: tuple[str, ...], wait_ms: int) -> None:
    async def test(server: InngestServer, inngest: Inngest) -> None:
        server.answer = always(response(429, {}, *headers))
        error = await failed(inngest)
        assert isinstance(error, TargetAway)
        assert error.retry_after_ms == wait_ms

    run(test)
