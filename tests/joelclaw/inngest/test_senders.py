"""What unmodified senders write, byte for byte, against the ingress.

`inngest_requests.json` has their requests as they came over the wire.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.joelclaw.inngest.ingress_world import World, run
from tests.joelclaw.inngest.inngest_server import Request, accepted, response

RECORDED: dict[str, str] = json.loads(
    Path(__file__).with_name("inngest_requests.json").read_text()
)["requests"]
KEY = "evtkey123"
ROUTES = "count/add=counter:c/add"


async def replay(w: World, sender: str) -> tuple[int, Any]:
    """Send a recorded request; return status and body of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", w.port)
    writer.write(RECORDED[sender].encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
    body = await reader.readexactly(length)
    writer.close()
    return int(head.split()[1]), json.loads(body)


def body_of(sender: str) -> bytes:
    return RECORDED[sender].encode().partition(b"\r\n\r\n")[2]


def header_of(sender: str, name: str) -> str | None:
    for line in RECORDED[sender].split("\r\n"):
        if line.lower().startswith(f"{name}: "):
            return line.partition(": ")[2]
    return None


def names_of(sender: str) -> list[str]:
    events = json.loads(body_of(sender))
    return [event["name"] for event in (events if isinstance(events, list) else [events])]


@pytest.mark.parametrize("sender", sorted(RECORDED))
def test_without_routes_inngest_gets_what_the_sender_wrote(sender: str) -> None:
    async def test(w: World) -> None:
        names = names_of(sender)
        ids = [f"{n}:{name}" for n, name in enumerate(names)]
        assert await replay(w, sender) == (200, {"ids": ids, "status": 200})
        [request] = w.inngest.requests
        assert (request.method, request.target) == ("POST", f"/e/{KEY}")
        assert request.body == body_of(sender)
        for name in (
            "content-type",
            "user-agent",
            "x-inngest-sdk",
            "x-inngest-event-id-seed",
            "x-inngest-framework",
            "x-inngest-expected-server-kind",
        ):
            assert request.headers.get(name) == header_of(sender, name), name

    run(test, event_key=KEY, routes="")


@pytest.mark.parametrize("sender", sorted(RECORDED))
def test_with_routes_the_ids_still_come_in_the_senders_order(sender: str) -> None:
    async def test(w: World) -> None:
        names = names_of(sender)
        status, body = await replay(w, sender)
        assert status == 200
        ids = body["ids"]
        committed = [entry["id"] for entry in await w.entries()]
        assert [
            id for id, name in zip(ids, names, strict=True) if name == "count/add"
        ] == committed
        assert w.inngest.names == [name for name in names if name != "count/add"]

    run(test, event_key=KEY, routes=ROUTES)


def test_a_repeat_by_the_sdk_is_committed_once_and_goes_on_with_the_same_seed() -> None:
    sender = "npm inngest 3.54.2, send of many"

    async def test(w: World) -> None:
        def away_once(request: Request) -> bytes:
            w.inngest.answer = accepted
            return response(503, {"error": "not now"})

        w.inngest.answer = away_once
        assert await replay(w, sender) == (503, {"error": "not now"})
        assert (await replay(w, sender))[0] == 200
        assert len(await w.entries()) == 1
        first, second = w.inngest.requests
        assert (first.body, first.headers) == (second.body, second.headers)

    run(test, event_key=KEY, routes=ROUTES)


def test_the_early_heartbeats_ten_events_are_taken_one_by_one() -> None:
    sender = "heartbeat's step.sendEvent, early"
    names = names_of(sender)
    assert len(names) == 10

    async def test(w: World) -> None:
        status, _ = await replay(w, sender)
        assert status == 200
        assert [entry["key"] for entry in await w.entries()] == list("0123456789")
        assert w.inngest.requests == []

    routes = ",".join(f"{name}=counter:{n}/add" for n, name in enumerate(names))
    run(test, event_key=KEY, routes=routes)
