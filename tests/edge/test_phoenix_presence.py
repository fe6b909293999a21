"""Who is there, on the Phoenix edge, and what its clients see when a worker is gone."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from bridge.journal.memory import MemoryJournal
from bridge.journal.values import Present
from tests.deadline import until
from tests.edge import presence_suite
from tests.edge.counter import CounterDispatcher, journal
from tests.edge.phoenix import PhoenixNode, phoenix_node
from tests.edge.presence_suite import ANN, TOPIC, diff, state
from tests.edge.rig import Rig, run
from tests.edge.test_presence import LEASE_MS


class TestPresenceOfThePhoenixEdge(presence_suite.PresenceSuite):
    """Each edge is a node, linked to a worker of its own."""

    @contextlib.asynccontextmanager
    async def edges(self, count: int, **settings: Any) -> AsyncIterator[list[Rig]]:
        settings = {"presence_lease_ms": LEASE_MS, **settings}
        store = journal()
        dispatcher = CounterDispatcher(store)
        self.nodes: dict[int, PhoenixNode] = {}
        async with contextlib.AsyncExitStack() as stack:
            edges = []
            for _ in range(count):
                node = stack.enter_context(phoenix_node())
                self.nodes[node.port] = node
                given = {"store": store, "dispatcher": dispatcher, **settings}
                edges.append(await stack.enter_async_context(node.worker(**given)))
            yield edges

    async def die(self, edge: Rig) -> None:
        self.nodes[edge.port].process.kill()

    async def stop(self, edge: Rig) -> None:
        self.nodes[edge.port].process.terminate()


async def until_a_lease_has_ended(store: MemoryJournal) -> None:
    await store.presence.turn("room", [Present("b", "r", "eve", {})], lease_ms=LEASE_MS)

    async def ended() -> bool:
        found = await store.presence.turn("room", asked=["b"], lease_ms=LEASE_MS)
        return found["b"] == b"{}"

    await until(ended)


def test_nobody_is_seen_to_go_when_the_worker_of_a_topic_is_gone() -> None:
    async def main() -> None:
        store = journal()
        given: dict[str, Any] = {"store": store, "dispatcher": CounterDispatcher(store)}
        given["presence_lease_ms"] = LEASE_MS
        with phoenix_node() as node:
            async with (
                node.worker("one", **given) as one,
                node.worker("two", **given) as two,
                one.client() as client,
                one.client() as watcher,
            ):
                await client.join(TOPIC, ANN)
                [meta] = (await state(client))["ann"]["metas"]
                await watcher.join(TOPIC)
                assert await state(watcher) == {"ann": {"metas": [meta]}}
                first = one if one.follows() else two
                first.edge.presence.stop_renewing()
                first.die()
                await until_a_lease_has_ended(store)
                await client.send("1", "9", TOPIC, "phx_leave", {})
                assert await diff(watcher) == ([], ["ann"])

    run(main())
