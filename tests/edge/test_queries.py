"""Queries that come together: shared when they ask the same, and never with an older read."""

from __future__ import annotations

import json
from typing import Any

from tests.deadline import until
from tests.edge.rig import Client, Rig, rig, run


async def ask_together(client: Client, *pushes: tuple[str, dict[str, Any]]) -> list[Any]:
    """Send the pushes in one write and return their responses, in their order."""
    transport = client.connection.transport
    for n, (operation, payload) in enumerate(pushes):
        frame = ["1", str(n), "counter:a", operation, payload]
        client.connection.protocol.send_text(json.dumps(frame).encode())
    transport.write(b"".join(client.connection.protocol.data_to_send()))
    answers = dict[str, Any]()
    while len(answers) < len(pushes):
        frame = await client.receive()
        if frame[3] == "phx_reply":
            answers[frame[1]] = frame[4]["response"]
    return [answers[str(n)] for n in range(len(pushes))]


def totals(r: Rig) -> int:
    return sum(message.operation == "total" for message in r.dispatcher.seen)


def test_the_same_query_of_several_is_dispatched_once_and_answered_each() -> None:
    async def main() -> None:
        async with rig() as r, r.client() as client:
            await client.join("counter:a")
            answers = await ask_together(client, *[("total", {})] * 5)
            assert answers == [{"total": 0}] * 5
            assert totals(r) == 1

    run(main())


def test_queries_that_differ_or_bring_a_message_id_are_dispatched_alone() -> None:
    async def main() -> None:
        async with rig() as r, r.client() as client:
            await client.join("counter:a")
            await ask_together(
                client,
                ("total", {}),
                ("total", {"n": 1}),
                ("total", {"runtime": "python"}),
                ("total", {"message_id": "q"}),
                ("total", {"message_id": "q"}),
            )
            assert totals(r) == 5

    run(main())


def test_a_query_that_comes_after_a_dispatch_began_sees_what_was_committed_since() -> None:
    async def main() -> None:
        async with rig() as r, r.client() as client:
            await client.join("counter:a")
            await client.send("1", "early", "counter:a", "slow", {})
            await until(lambda: bool(r.dispatcher.seen))
            await client.send("1", "late", "counter:a", "slow", {})
            assert await client.ask("counter:a", "add", {}) == {
                "status": "ok",
                "response": {"total": 1},
            }
            assert [m.operation for m in r.dispatcher.seen] == ["slow", "slow", "add"]
            r.dispatcher.gate.set()
            for ref in ("early", "late"):
                assert (await client.reply(ref))["response"] == {"slow": True}

    run(main())


def test_more_messages_than_one_has_its_turn_for_are_all_answered_in_order() -> None:
    async def main() -> None:
        async with rig() as r, r.client() as client:
            await client.join("counter:a")
            answers = await ask_together(client, *[("add", {})] * 60, *[("total", {})] * 40)
            assert [answer["total"] for answer in answers[:60]] == list(range(1, 61))
            assert len(answers) == 100
            assert r.edge._in_flight() == 0

    run(main())
