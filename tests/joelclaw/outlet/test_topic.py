"""The outlet's topic: real sockets and the real phoenix.js before a deliverer."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from websockets.asyncio.client import connect

from bridge.contracts.files import CONTRACTS, read_json
from bridge.contracts.loading import subset
from bridge.contracts.validation import CompiledSchema
from bridge.edge.edge import Edge
from bridge.edge.listener import bind
from bridge.edge.serve import serve
from bridge.joelclaw import SUBSYSTEM
from bridge.joelclaw.outlet.deliverer import Deliverer
from bridge.joelclaw.outlet.topic import TopicReceiver
from bridge.joelclaw.quarantine import Quarantined
from bridge.journal.memory import MemoryJournal
from bridge.settings import Settings
from bridge.telemetry import Telemetry
from tests.deadline import DEADLINE_S, until
from tests.edge.counter import CounterDispatcher, Registry
from tests.edge.rig import Client
from tests.journal.case import prepare

FOLDER = Path(__file__).parent
TESTS = FOLDER.parent.parent
TOPIC = "outlet:gateway"
LONG_MS = 600_000


class Bench:
    """Workers with an edge and a deliverer each, over one journal."""

    def __init__(self) -> None:
        self.journal = MemoryJournal(
            lambda: time.time_ns() // 1_000_000, delivering=frozenset({SUBSYSTEM})
        )
        self.deliveries = self.journal.deliveries(SUBSYSTEM)
        self.quarantined: list[Quarantined] = []
        self.telemetry = Telemetry()
        self.emitted = 0

    @asynccontextmanager
    async def worker(self, name: str, *, ack_ms: int = LONG_MS) -> AsyncIterator[int]:
        """Run a worker; yields its port."""
        token = f"topic {name}"
        topic = TopicReceiver(self.deliveries, token, ack_ms=ack_ms)
        deliverer = Deliverer(
            token,
            self.deliveries,
            topic,
            self.put_aside,
            self.telemetry,
            lease_ms=600,
            first_retry_ms=1,
        )
        settings = Settings(port=0)
        edge = Edge(
            Registry(),
            CounterDispatcher(self.journal),
            self.journal,
            settings,
            self.telemetry,
            feeds={"outlet": topic},
        )
        sock = bind("127.0.0.1", 0)
        started = asyncio.Event()
        tasks = [
            asyncio.create_task(deliverer.run()),
            asyncio.create_task(serve(edge, settings, sock, started.set)),
        ]
        await started.wait()
        try:
            yield sock.getsockname()[1]
            assert not any(task.done() for task in tasks)
        finally:
            deliverer.close()
            for task in tasks[1:]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def put_aside(self, item: Quarantined) -> None:
        self.quarantined.append(item)

    async def emit(self, *prompts: str) -> list[str]:
        ids = []
        for prompt in prompts:
            commit = await prepare(
                self.journal,
                f"m{self.emitted}",
                {"effect": "emit", "type": "triage.prompt", "payload": {"prompt": prompt}},
                subsystem=SUBSYSTEM,
                key="gateway",
            )
            assert (await self.journal.commit(commit, 1000)).status == "committed"
            ids.append(f"m{self.emitted}/0")
            self.emitted += 1
        return ids

    async def left(self) -> list[str]:
        return [delivery.event.id for delivery in (await self.deliveries.waiting()).first]

    async def until_holder(self, holder: str) -> None:
        async def holds() -> bool:
            return (await self.deliveries.waiting()).holder == holder

        await until(holds, f"{holder or 'nobody'} delivers")


@asynccontextmanager
async def client(port: int, params: Any = None) -> AsyncIterator[Client]:
    """Connect and join the outlet's topic."""
    url = f"ws://127.0.0.1:{port}/socket/websocket?vsn=2.0.0"
    async with connect(url, compression=None, proxy=None) as connection:
        made = Client(connection)
        await made.join(TOPIC, params)
        yield made


async def ack(client: Client, id: str) -> Any:
    return await client.ask(TOPIC, "ack", {"id": id})


def run(test: Callable[[Bench], Awaitable[None]]) -> None:
    async def within() -> None:
        bench = Bench()
        await bench.journal.ensure_route(SUBSYSTEM, "python", None)
        async with asyncio.timeout(DEADLINE_S):
            await test(bench)

    uvloop.run(within())


@pytest.mark.skipif(
    shutil.which("node") is None or not (TESTS / "edge/node/node_modules").is_dir(),
    reason="needs Node and `npm ci` in tests/edge/node; `make test` does both where it can",
)
@pytest.mark.parametrize("version", ["1.8", "1.7"])
def test_a_conversation_with_phoenix_js(version: str) -> None:
    async def test(bench: Bench) -> None:
        ids = await bench.emit("a", "b", "c")
        async with bench.worker("one") as port:
            process = await asyncio.create_subprocess_exec(
                *("node", str(FOLDER / "node/outlet.mjs"), str(port), version),
                stdout=PIPE,
                stderr=PIPE,
            )
            out, err = await process.communicate()
            assert process.returncode == 0, (out + err).decode()
            told = json.loads(out)
            assert [event["id"] for event in told["taken"]] == ids
            assert told["taken"][0]["payload"] == {"prompt": "a"}
            assert (told["taken"][0]["key"], told["taken"][0]["seq"]) == ("gateway", 1)
            assert told["refused"]["response"]["code"] == "invalid_request"
            assert told["refused"]["response"]["detail"]["expected"] == ids[0]
            assert await bench.left() == []

    run(test)


def test_the_contract_stays_inside_the_subset() -> None:
    definitions = read_json(CONTRACTS / "joelclaw" / "outlet.schema.json")["$defs"]
    for name, schema in definitions.items():
        assert subset().lint(schema, f"/$defs/{name}", definitions) == []
        CompiledSchema(name, schema, definitions)


def test_the_next_comes_after_the_acknowledgement_and_not_before() -> None:
    async def test(bench: Bench) -> None:
        first, second = await bench.emit("a", "b")
        async with bench.worker("one") as port, client(port) as one:
            (event,) = await one.events(1)
            assert (event["id"], event["payload"]) == (first, {"prompt": "a"})
            assert await bench.left() == [first, second]
            reply = await ack(one, first)
            assert reply == {"status": "ok", "response": {}}
            assert (await one.events(1))[0]["id"] == second

    run(test)


def test_all_clients_get_it_and_the_first_acknowledgement_counts() -> None:
    async def test(bench: Bench) -> None:
        async with bench.worker("one") as port, client(port) as one, client(port) as two:
            (id,) = await bench.emit("a")
            for each in (one, two):
                assert (await each.events(1))[0]["id"] == id
            assert (await ack(two, id))["status"] == "ok"
            assert (await ack(one, id))["status"] == "ok"
            assert await bench.left() == []
            await until(lambda: bench.telemetry.counts().get("delivered") == 1)

    run(test)


def test_what_was_not_acknowledged_comes_again_to_a_client_that_joins_later() -> None:
    async def test(bench: Bench) -> None:
        (id,) = await bench.emit("a")
        async with bench.worker("one") as port:
            async with client(port) as one:
                assert (await one.events(1))[0]["id"] == id
            async with client(port, {"since": "0-0"}) as two:
                assert (await two.events(1))[0]["id"] == id
                async with client(port) as three:
                    assert (await three.events(1))[0]["id"] == id
                    assert (await ack(three, id))["status"] == "ok"
            assert await bench.left() == []
            assert not bench.quarantined

    run(test)


def test_the_same_client_gets_it_again_after_a_time_and_may_acknowledge_late() -> None:
    async def test(bench: Bench) -> None:
        (id,) = await bench.emit("a")
        async with bench.worker("one", ack_ms=50) as port, client(port) as one:
            events = await one.events(3)
            assert [event["id"] for event in events] == [id] * 3
            # Whether it is being offered at this moment or not.
            assert (await ack(one, id))["status"] == "ok"
            assert await bench.left() == []
            (next_id,) = await bench.emit("b")
            while (await one.events(1))[0]["id"] != next_id:
                pass

    run(test)


def test_what_nobody_acknowledges_eight_times_goes_to_the_quarantine() -> None:
    async def test(bench: Bench) -> None:
        bad, good = await bench.emit("a", "b")
        async with bench.worker("one", ack_ms=20) as port, client(port) as one:
            ids = [event["id"] for event in await one.events(9)]
            assert ids == [bad] * 8 + [good]
            (item,) = bench.quarantined
            said = "not delivered in 8 attempts: not acknowledged within 0.02 s, clients: 1"
            assert (item.id, item.message) == (bad, said)
            reply = await ack(one, bad)
            assert reply["response"]["code"] == "invalid_request"

    run(test)


def test_without_a_client_nothing_is_lost_and_no_worker_holds_the_lease() -> None:
    async def test(bench: Bench) -> None:
        async with bench.worker("one") as port:
            (id,) = await bench.emit("a")
            async with client(port) as one:
                await one.events(1)
                await bench.until_holder("topic one")
            await bench.until_holder("")
            assert await bench.left() == [id]
            waiting = await bench.deliveries.waiting()
            assert waiting.first[0].attempts == 0

    run(test)


def test_the_worker_whose_clients_are_there_delivers() -> None:
    async def test(bench: Bench) -> None:
        async with bench.worker("one") as a, bench.worker("two") as b:
            (id,) = await bench.emit("a")
            async with client(b) as two:
                assert (await two.events(1))[0]["id"] == id
                await bench.until_holder("topic two")
                async with client(a) as one:
                    # Nothing of it was sent there: only who has it may say so.
                    reply = await ack(one, id)
                    assert reply["response"]["code"] == "invalid_request"
                    await two.connection.close()
                    assert (await one.events(1))[0]["id"] == id
                    assert (await ack(one, id))["status"] == "ok"
            assert await bench.left() == []

    run(test)


def test_a_client_that_acknowledges_nothing_keeps_it_from_no_client_of_another_worker() -> None:
    async def test(bench: Bench) -> None:
        async with bench.worker("one", ack_ms=50) as a, bench.worker("two", ack_ms=50) as b:
            (id,) = await bench.emit("a")
            async with client(a) as one:
                assert (await one.events(1))[0]["id"] == id
                async with client(b) as two:
                    assert (await two.events(1))[0]["id"] == id
                    assert (await ack(two, id))["status"] == "ok"
            assert await bench.left() == []

    run(test)


def test_other_topics_are_served_as_ever() -> None:
    async def test(bench: Bench) -> None:
        await bench.journal.ensure_route("counter", "python", None)
        async with bench.worker("one") as port, client(port) as one:
            await one.join("counter:a", ref="2")
            reply = await one.ask("counter:a", "add", {"n": 2}, join_ref="2")
            assert reply["response"] == {"total": 2}
            assert (await one.events(1))[0]["payload"] == {"n": 2, "total": 2}

    run(test)
