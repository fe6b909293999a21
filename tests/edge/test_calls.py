"""The clients that call and follow, against `bridge up` whose workers are killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from functools import partial
from pathlib import Path

import pytest
from pydantic import BaseModel

from bridge.calls import CallError, Calls, calls
from tests.deadline import DEADLINE_S, until
from tests.edge.phoenix_js import has_phoenix_js, node, passes
from tests.running import ALONE, SUBSYSTEMS, Up
from tests.up.test_nodes import workers_of

FOLDERS = (
    "--contracts",
    str(SUBSYSTEMS),
    "--implementations",
    str(SUBSYSTEMS / "implementations.json"),
)


class Add(BaseModel):
    n: int


class Added(BaseModel):
    total: int


async def kill_workers(running: Up) -> None:
    """End each worker as if by chance, one after the other, and wait for its successor."""
    for worker in workers_of(running):
        os.kill(worker, signal.SIGKILL)
        await until(partial(replaced, running, worker), "another worker is there")


def replaced(running: Up, worker: int) -> bool:
    there = workers_of(running)
    return worker not in there and len(there) == 2


@has_phoenix_js
@pytest.mark.slow
def test_the_typescript_client_repeats_what_is_lost_and_misses_no_event(tmp_path: Path) -> None:
    async def main(running: Up) -> None:
        client = await node("calls.mjs", running.run["url"].rpartition(":")[2])
        assert client.stdin is not None
        assert client.stdout is not None
        if json.loads(await client.stdout.readline() or "{}") == {"pushing": True}:
            await kill_workers(running)
            client.stdin.write(b"stop\n")
        await passes(client)

    with Up(tmp_path / "bridge", *FOLDERS, **ALONE, BRIDGE_WORKERS="2") as running:
        asyncio.run(main(running))


@pytest.mark.slow
def test_the_python_client_repeats_what_is_lost_and_misses_no_event(tmp_path: Path) -> None:
    async def main(running: Up) -> None:
        totals: list[int] = []
        adding: list[asyncio.Task[Added]] = []
        ended = asyncio.Event()

        async def follow(counter: Calls) -> None:
            since = ""
            while not ended.is_set() or totals[-1] != len(adding):
                async for event in counter.events("a", since):
                    totals.append(event.payload["total"])
                    since = event.position
                    last = ended.is_set() and totals[-1] == len(adding)
                    if last or len(totals) % 50 == 0:
                        break  # and begin again from there

        async def add_without_a_pause(counter: Calls) -> None:
            while not ended.is_set():
                call = counter.call("a", "add", Add(n=1), Added, timeout_s=2 * DEADLINE_S)
                adding.append(asyncio.create_task(call))
                await (adding[-1] if not totals else asyncio.sleep(0.002))

        async with calls(running.run["url"], "counter") as counter, asyncio.TaskGroup() as group:
            group.create_task(follow(counter))
            group.create_task(add_without_a_pause(counter))
            await until(lambda: totals, "it follows")
            await kill_workers(running)
            ended.set()
        replies = [(await each).total for each in adding]
        assert sorted(replies) == list(range(1, len(adding) + 1))
        assert totals == list(range(totals[0], len(adding) + 1))

    with Up(tmp_path / "bridge", *FOLDERS, **ALONE, BRIDGE_WORKERS="2") as running:
        asyncio.run(main(running))


def test_the_python_client_raises_what_the_bridge_says(tmp_path: Path) -> None:
    async def main(running: Up) -> None:
        async with calls(running.run["url"], "counter") as counter:
            for _ in range(2):  # a repeat of an id is the same call
                assert await counter.call("b", "add", {"n": 2}, message_id="x") == {"total": 2}
            with pytest.raises(CallError) as off:
                await counter.call("b", "add", {"n": "x"})
            assert (off.value.code, off.value.detail["pointer"]) == ("invalid_request", "/n")
            with pytest.raises(CallError, match=r"^refused: "):
                await counter.call("b", "fail", {"how": "refuse"})
            with pytest.raises(CallError, match=r"^no_answer: ") as unknown:
                await counter.call("b", "fail", {"how": "loop"}, timeout_s=0.001, message_id="y")
            assert unknown.value.detail == {"message_id": "y"}
            with pytest.raises(CallError, match=r"^gap: "):
                await anext(counter.events("b", "0-1"))
        async with calls(running.run["url"], "nobody") as nobody:
            with pytest.raises(CallError, match=r"^unknown_topic: "):
                await nobody.call("b", "add", {})

    with Up(tmp_path / "bridge", *FOLDERS, **ALONE) as running:
        asyncio.run(main(running))
