"""Clients of a Phoenix node: the same as on the Python edge, also while workers die."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from tests.deadline import until
from tests.edge.counter import CounterDispatcher, journal
from tests.edge.phoenix import PhoenixNode, phoenix_node
from tests.edge.rig import run
from tests.edge.test_phoenix_js import has_phoenix_js, node, passes, versions


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
            process = await node("drain.mjs", str(phoenix.port), version)
            assert process.stdout is not None
            assert process.stdin is not None
            assert json.loads(await process.stdout.readline()) == {"pushing": True}
            dying, other = (one, two) if one.follows() else (two, one)
            dying.die()
            await until(other.follows, "the topic goes on at the other worker")
            await asyncio.sleep(0.1)
            process.stdin.write(b"stop\n")
            result = json.loads(await process.stdout.readline())
            assert result["failed"] == []
            assert result["joins"] == 1
            assert result["in_order"]
            assert result["events"] == result["pushes"]
            await passes(process)

    run(main())
