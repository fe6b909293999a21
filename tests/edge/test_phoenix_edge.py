"""Clients of a Phoenix node: the same as on the Python edge, also while workers die."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator

import pytest
from websockets.exceptions import InvalidStatus

from bridge.journal.values import Event
from bridge.message import JSON, Message
from tests.deadline import until
from tests.edge.counter import Contract, CounterDispatcher, journal
from tests.edge.phoenix import PhoenixNode, phoenix_node
from tests.edge.phoenix_js import Pushing, has_phoenix_js, node, passes, versions
from tests.edge.rig import run


@pytest.fixture(scope="module")
def phoenix() -> Iterator[PhoenixNode]:
    with phoenix_node() as started:
        yield started


@has_phoenix_js
@versions
def test_a_conversation_with_phoenix_js(phoenix: PhoenixNode, version: str) -> None:
    async def main() -> None:
        async with phoenix.worker() as w:
            await passes(await node("conversation.mjs", str(w.port), version))

    run(main())


@has_phoenix_js
@versions
def test_no_client_sees_that_a_worker_dies(phoenix: PhoenixNode, version: str) -> None:
    async def main() -> None:
        store = journal()
        dispatcher = CounterDispatcher(store)
        async with (
            phoenix.worker("one", store=store, dispatcher=dispatcher) as one,
            phoenix.worker("two", store=store, dispatcher=dispatcher) as two,
        ):
            client = await Pushing.start(phoenix.port, version)
            dying, other = (one, two) if one.follows() else (two, one)
            dying.die()
            await until(other.follows, "the topic goes on at the other worker")
            await asyncio.sleep(0.1)
            await client.kept(joins=1)

    run(main())


def add(n: int) -> Message:
    return Message(f"m{n}", "counter", "a", "add", {"n": n})


def test_what_was_in_flight_is_done_once_at_another_worker(phoenix: PhoenixNode) -> None:
    async def main() -> None:
        store = journal()
        first, second = CounterDispatcher(store), CounterDispatcher(store)
        async with (
            phoenix.worker("one", store=store, dispatcher=first) as one,
            one.client() as client,
        ):
            await client.join("counter:a")
            await client.send("1", "2", "counter:a", "hold", {"n": 2})
            await client.send("1", "3", "counter:a", "add", {"n": 3})
            await until(lambda: first.seen, "the push is in flight")
            async with phoenix.worker("two", store=store, dispatcher=second):
                one.die()
                await until(lambda: second.seen, "it is asked again")
                first.gate.set()
                second.gate.set()
                assert await client.reply("2") == ok({"total": 2})
                assert await client.reply("3") == ok({"total": 5})
                assert [m.id for m in first.seen] == [m.id for m in second.seen[:1]]

    run(main())


def test_pushes_that_wait_for_a_worker_keep_their_order(phoenix: PhoenixNode) -> None:
    async def main() -> None:
        store = journal()
        async with phoenix.worker("one", store=store) as one, one.client() as client:
            await client.join("counter:a")
            one.die()
            sent = 0

            async def push() -> None:
                nonlocal sent
                while True:
                    sent += 1
                    await client.send("1", str(sent + 1), "counter:a", "add", {"n": 1})
                    await asyncio.sleep(0.002)

            pushing = asyncio.create_task(push())
            await until(lambda: sent > 50, "pushes wait")
            async with phoenix.worker("two", store=store):
                before = sent
                await until(lambda: sent > before + 100, "pushes find a worker")
                pushing.cancel()
                replies = [(await client.reply(str(n + 1)))["response"] for n in range(1, sent)]
                assert replies == [{"total": n} for n in range(1, sent)]

    run(main())


def test_events_from_between_two_workers_are_not_missed(phoenix: PhoenixNode) -> None:
    async def main() -> None:
        store = journal()
        dispatcher = CounterDispatcher(store)
        async with (
            phoenix.worker("one", store=store, dispatcher=dispatcher) as one,
            one.client() as client,
        ):
            await client.join("counter:a")
            await dispatcher.dispatch(add(1), timeout_ms=1000)
            [event] = await client.events(1)
            one.die()
            await dispatcher.dispatch(add(2), timeout_ms=1000)
            async with phoenix.worker("two", store=store, dispatcher=dispatcher):
                await dispatcher.dispatch(add(3), timeout_ms=1000)
                events = [event, *await client.events(2)]
                assert [e["payload"]["total"] for e in events] == [1, 3, 6]
                assert [e["seq"] for e in events] == [1, 2, 3]

    run(main())


def test_a_client_with_since_misses_nothing_and_gets_nothing_twice(phoenix: PhoenixNode) -> None:
    async def main() -> None:
        store = journal()
        dispatcher = CounterDispatcher(store)
        async with (
            phoenix.worker("one", store=store, dispatcher=dispatcher) as one,
            one.client() as first,
            one.client("vsn=1.0.0") as second,
        ):
            position = (await first.join("counter:a"))["position"]
            for n in range(1, 400):
                await dispatcher.dispatch(add(n), timeout_ms=1000)
            join = {"topic": "counter:a", "event": "phx_join", "ref": 1}
            text = json.dumps({**join, "payload": {"since": position}})
            await second.connection.send(text)
            for n in range(400, 500):
                await dispatcher.dispatch(add(n), timeout_ms=1000)
            reply, *frames = [await second.receive() for _ in range(500)]
            assert reply["payload"] == ok({"position": position})
            assert [f["payload"]["seq"] for f in frames] == list(range(1, 500))
            assert [e["seq"] for e in await first.events(499)] == list(range(1, 500))

    run(main())


def test_with_no_worker_alive_it_may_be_tried_again(phoenix: PhoenixNode) -> None:
    async def main() -> None:
        store = journal()
        async with phoenix.worker("one", store=store) as one, one.client() as client:
            await client.join("counter:a")
            one.die()
            await one.mourned()
            error = (await client.ask("counter:a", "add", {"n": 1}))["response"]
            assert (error["code"], error["retryable"]) == ("runtime_unavailable", True)
            await client.send("9", "9", "counter:b", "phx_join", {})
            error = (await client.reply("9"))["response"]
            assert (error["code"], error["retryable"]) == ("runtime_unavailable", True)
            async with phoenix.worker("two", store=store):
                await client.join("counter:b", ref="10")
                assert await client.ask("counter:a", "add", {"n": 1}) == ok({"total": 1})

    run(main())


def test_a_client_without_the_token_or_of_another_origin_is_refused(phoenix: PhoenixNode) -> None:
    async def main() -> None:
        async with phoenix.worker("one", token="secret") as one:
            for query, headers, status in (
                ("vsn=2.0.0", {}, 401),
                ("vsn=2.0.0&token=wrong", {}, 401),
                ("vsn=2.0.0&token=secret", {"Origin": "http://elsewhere.example"}, 403),
                ("vsn=2.1.0&token=secret", {}, 400),
            ):
                with pytest.raises(InvalidStatus) as refused:
                    async with one.client(query, additional_headers=headers):
                        pass
                assert refused.value.response.status_code == status
                assert json.loads(refused.value.response.body)["code"]
            async with one.client("vsn=2.0.0&token=secret") as client:
                await client.join("counter:a")
            bearer = {"Authorization": "Bearer secret"}
            async with one.client(additional_headers=bearer) as client:
                await client.join("counter:a")

    run(main())


def test_limits_are_those_of_the_worker(phoenix: PhoenixNode) -> None:
    async def main() -> None:
        async with (
            phoenix.worker("one", max_topics=2, max_in_flight=2) as one,
            one.client() as client,
        ):
            await client.join("counter:a", ref="1")
            await client.join("counter:a", ref="2")
            await client.join("counter:b", ref="3")
            await client.send("4", "4", "counter:c", "phx_join", {})
            assert (await client.reply("4"))["response"]["code"] == "limit_exceeded"
            for ref in ("5", "6", "7"):
                await client.send("2", ref, "counter:a", "slow", {})
            assert (await client.reply("7"))["response"]["code"] == "overloaded"
            one.dispatcher.gate.set()
            assert await client.reply("5") == ok({"slow": True})

    run(main())


def test_frames_that_cannot_be_read_are_answered_and_ten_end_the_socket(
    phoenix: PhoenixNode,
) -> None:
    async def main() -> None:
        async with phoenix.worker("one") as one, one.client() as client:
            await client.join("counter:a")
            await client.connection.send('["1","2","counter:a","total",{"n":1,"n":2}]')
            assert (await client.reply("2"))["response"]["code"] == "invalid_text"
            await client.connection.send('["1","3","counter:a","add",{"n":9007199254740993}]')
            assert (await client.reply("3"))["response"]["code"] == "invalid_number"
            await client.connection.send('["1","4","counter:a","total",{},0]')
            assert (await client.reply("4"))["response"]["code"] == "invalid_frame"
            for _ in range(10):
                await client.connection.send("nothing")
            assert await client.closed() == 1008

    run(main())


class Each:
    """A topic whose clients get events of their own."""

    contract = Contract()

    def __init__(self) -> None:
        self.clients: list[Callable[[Event], None]] = []

    def joined(self, client: Callable[[Event], None]) -> None:
        self.clients.append(client)

    def left(self, client: Callable[[Event], None]) -> None:
        self.clients.remove(client)

    async def answer(self, operation: str, request: JSON) -> JSON:
        return {"asked": operation}


def test_a_topic_may_have_events_for_each_of_its_clients(phoenix: PhoenixNode) -> None:
    async def main() -> None:
        each = Each()
        async with phoenix.worker("one", feeds={"outlet": each}) as one:
            async with one.client() as first, one.client() as second:
                await first.join("outlet:a")
                await until(lambda: len(each.clients) == 1, "the first one is there")
                await second.join("outlet:a", {"since": "1-0"})
                await until(lambda: len(each.clients) == 2, "the second one is there")
                for n, client in enumerate(each.clients):
                    client(Event(f"{n}-0", "outlet", "a", 1, n, "m/0", "told", {"n": n}, 0))
                assert [e["payload"] for e in await first.events(1)] == [{"n": 0}]
                assert [e["payload"] for e in await second.events(1)] == [{"n": 1}]
                assert await first.ask("outlet:a", "total", {}) == ok({"asked": "total"})
            await until(lambda: each.clients == [], "both have left")

    run(main())


def test_the_codes_of_an_idle_client_and_of_a_large_frame() -> None:
    async def main(node: PhoenixNode) -> None:
        async with node.worker("one") as one:
            async with one.client() as client:
                assert await client.closed() == 4408
            async with one.client() as client:
                for _ in range(4):  # pings are a sign of life
                    await asyncio.sleep(0.5)
                    await (await client.connection.ping())
                await client.connection.send("x" * 5000)
                assert await client.closed() == 1009

    with phoenix_node(BRIDGE_IDLE_TIMEOUT_MS="1000", BRIDGE_MAX_FRAME_BYTES="4096") as node:
        run(main(node))


def ok(response: JSON) -> JSON:
    return {"status": "ok", "response": response}
