"""The real phoenix.js, two versions of it, against the edge."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from bridge.edge.listener import bind
from bridge.edge.serve import serve
from tests.deadline import until
from tests.edge.counter import CounterDispatcher, journal
from tests.edge.rig import rig, run

FOLDER = Path(__file__).parent / "node"
VECTORS = Path(__file__).parents[2] / "contracts/vectors/channels/frames.json"

has_phoenix_js = pytest.mark.skipif(
    shutil.which("node") is None or not (FOLDER / "node_modules").is_dir(),
    reason="needs Node and `npm ci` in tests/edge/node; `make test` does both where it can",
)

pytestmark = has_phoenix_js

versions = pytest.mark.parametrize("version", ["1.8", "1.7"])


async def node(script: str, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        "node", str(FOLDER / script), *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )


async def passes(process: asyncio.subprocess.Process) -> None:
    out, err = await process.communicate()
    assert process.returncode == 0, (out + err).decode()


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
            process = await node("drain.mjs", str(port), version)
            assert process.stdout is not None
            assert process.stdin is not None
            assert json.loads(await process.stdout.readline()) == {"pushing": True}
            two = asyncio.create_task(serve(second.edge, second.edge.settings, copy_of(shared)))
            await first.edge.drain()
            await one
            await until(lambda: any(s.session.channels for s in second.edge.sockets))
            process.stdin.write(b"stop\n")
            result = json.loads(await process.stdout.readline())
            assert result["failed"] == []
            assert result["joins"] == 2
            assert result["in_order"]
            assert result["events"] == result["pushes"]
            await passes(process)
            await second.edge.drain()
            await two
            shared.close()

    run(main())
