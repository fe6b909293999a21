"""Activities under `bridge up`: in Python, TypeScript and Elixir, each in its own process."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.client import Client, connected
from bridge.up import programs
from bridge.up.programs import Command
from tests.activities.bench import SUBSYSTEMS
from tests.deadline import until
from tests.running import Up, bridge

TOPIC = "asker:k"
HAS_NODE = isinstance(programs.elixir(programs.search_path()), Command)
WHERE = {
    "here": True,
    "there": shutil.which("node") is not None,
    "beam": HAS_NODE,
}
TO = [
    pytest.param(to, marks=pytest.mark.skipif(not there, reason="not on this machine"))
    for to, there in WHERE.items()
]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    directory = tmp_path_factory.mktemp("activities")
    arguments = (
        *("--contracts", str(SUBSYSTEMS)),
        *("--implementations", str(SUBSYSTEMS / "implementations.json")),
    )
    with Up(directory, *arguments, ASKED=str(directory / "asked")) as running:
        yield running


def asked(up: Up, id: str) -> list[str]:
    """Return what a call's attempts noted."""
    file = up.directory / "asked"
    lines = file.read_text().splitlines() if file.exists() else []
    return [line.partition(" ")[2] for line in lines if line.startswith(f"{id}/0 ")]


async def told(client: Client, id: str) -> Any:
    """Return what `told` was told of a call."""
    found: list[Any] = []

    async def is_told() -> bool:
        all_told = (await client.push(TOPIC, "all", {}))["told"]
        found[:] = [each for each in all_told if each["id"] == f"{id}/0"]
        return bool(found)

    await until(is_told, f"{id} was told")
    assert len(found) == 1
    return found[0]


async def ask(client: Client, id: str, to: str, text: str) -> None:
    await client.push(TOPIC, "ask", {"to": to, "text": text, "message_id": id})


@pytest.mark.parametrize("to", TO)
def test_an_activity_answers_fails_and_says_that_trying_again_is_no_use(up: Up, to: str) -> None:
    async def test() -> None:
        async with connected(up.run["url"]) as client:
            await client.join(TOPIC)
            for text in ("hello", "fail", "never"):
                await ask(client, f"{to}-{text}", to, text)
            assert (await told(client, f"{to}-hello"))["reply"] == {"text": "hello", "attempt": 1}
            failed = (await told(client, f"{to}-fail"))["error"]
            assert "failed at 3" in failed["message"]
            assert (failed["code"], failed["retryable"]) == ("failed", True)
            never = (await told(client, f"{to}-never"))["error"]
            assert never["detail"] == {"why": "never", "attempts": 1}
            assert len(asked(up, f"{to}-fail")) == 3

    asyncio.run(test())


@pytest.mark.skipif(not HAS_NODE, reason="there is no Elixir on this machine")
def test_the_node_killed_in_the_middle_has_its_activity_begun_again(up: Up) -> None:
    async def test() -> None:
        async with connected(up.run["url"]) as client:
            await client.join(TOPIC)
            await ask(client, "beam-killed", "beam", "first")
            await until(lambda: asked(up, "beam-killed") == ["1 first"])
            [node] = [pid for pid, text in up.children().items() if "beam.smp" in text]
            os.kill(node, signal.SIGKILL)
            done = await told(client, "beam-killed")
            assert done["reply"] == {"text": "first", "attempt": 2}

    asyncio.run(test())


@pytest.mark.skipif(not WHERE["there"], reason="there is no Node on this machine")
def test_every_worker_killed_in_the_middle_costs_no_second_run_of_a_service(up: Up) -> None:
    async def test() -> None:
        async with connected(up.run["url"]) as client:
            await client.join(TOPIC)
            await ask(client, "workers", "there", "long")
            await until(lambda: asked(up, "workers") == ["1 long"])
        for pid, text in up.children().items():
            if "-m bridge.gateway" in text:
                os.kill(pid, signal.SIGKILL)
        async with connected(up.run["url"]) as client:
            await client.join(TOPIC)
            done = await told(client, "workers")
            assert done["reply"] == {"text": "long", "attempt": 1}
            assert asked(up, "workers") == ["1 long"]

    asyncio.run(test())


def test_replay_gives_then_what_it_was_told_and_asks_nobody(up: Up, tmp_path: Path) -> None:
    async def test() -> None:
        async with connected(up.run["url"]) as client:
            await client.join(TOPIC)
            await ask(client, "replayed", "here", "hello")
            await told(client, "replayed")

    asyncio.run(test())
    before = (up.directory / "asked").read_text()
    replayed = bridge(
        up.directory,
        *("journal", "replay", "asker", "--runtime", "python", "--key", "k"),
        *("--contracts", str(SUBSYSTEMS)),
        *("--implementations", str(SUBSYSTEMS / "implementations.json")),
    )
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    assert (up.directory / "asked").read_text() == before
