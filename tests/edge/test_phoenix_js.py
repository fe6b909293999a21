"""The real phoenix.js, two versions of it, against the edge."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

from bridge.edge.listener import bind
from bridge.edge.serve import serve
from tests.deadline import until
from tests.edge.counter import CounterDispatcher, journal
from tests.edge.phoenix_js import Pushing, has_phoenix_js, node, passes, versions
from tests.edge.rig import rig, run

VECTORS = Path(__file__).parents[2] / "contracts/vectors/channels/frames.json"

pytestmark = has_phoenix_js


def copy_of(sock: socket.socket) -> socket.socket:
    return socket.socket(fileno=os.dup(sock.fileno()))


def test_the_clients_serializer_agrees_with_the_vectors() -> None:
    async def main() -> None:
        await passes(await node("serializer.mjs", str(VECTORS)))

    run(main())


@versions
def test_a_conversation_with_phoenix_js(version: str) -> None:
    async def main() -> None:
        async with rig() as r:
            await passes(await node("conversation.mjs", str(r.port), version))

    run(main())


@versions
def test_no_push_of_phoenix_js_fails_while_its_worker_is_replaced(version: str) -> None:
    async def main() -> None:
        store = journal()
        dispatcher = CounterDispatcher(store)
        async with rig(store, dispatcher) as first, rig(store, dispatcher) as second:
            shared = bind("127.0.0.1", 0)
            port = shared.getsockname()[1]

            one = asyncio.create_task(serve(first.edge, first.edge.settings, copy_of(shared)))
            client = await Pushing.start(port, version)
            two = asyncio.create_task(serve(second.edge, second.edge.settings, copy_of(shared)))
            await first.edge.drain()
            await one
            await until(lambda: any(s.session.channels for s in second.edge.sockets))
            await client.kept(joins=2)
            await second.edge.drain()
            await two
            shared.close()

    run(main())
