"""The agent loop of contracts/examples: equal in Python and Elixir, and finished after all."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bridge.client import Client, ErrorReply, connected
from bridge.contracts.files import ROOT
from bridge.up import programs
from bridge.up.programs import Command
from tests.deadline import DEADLINE_S, until
from tests.running import Up, bridge

EXAMPLES = ROOT / "contracts" / "examples"
YOURS = (
    *("--contracts", str(EXAMPLES)),
    *("--implementations", str(EXAMPLES / "implementations.json")),
)
HAS_ELIXIR = isinstance(programs.elixir(programs.search_path()), Command)
GOAL = "a dial; hard hands; impossible bells"
TOPIC = "agents:clock"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    directory = tmp_path_factory.mktemp("agents")
    noted = str(directory / "asked")
    with Up(directory, *YOURS, AGENTS_LOG=noted, AGENTS_THINKING_MS="400") as running:
        yield running


def asked(up: Up) -> list[str]:
    """Return each attempt of an activity that began: its number and the step."""
    file = up.directory / "asked"
    lines = file.read_text().splitlines() if file.exists() else []
    return [line.partition(" ")[2] for line in lines]


def kill(up: Up, named: str) -> None:
    """Kill each process of the bridge that has this in its command line."""
    found = [pid for pid, text in up.children().items() if named in text]
    assert found, named
    for pid in found:
        os.kill(pid, signal.SIGKILL)


@asynccontextmanager
async def joined(up: Up) -> AsyncIterator[Client]:
    async with connected(up.run["url"]) as client:
        await client.join(TOPIC)
        yield client


async def status(up: Up, loop: str) -> Any:
    """Return a loop's state; whoever is killed meanwhile."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                async with joined(up) as client:
                    return await client.push(TOPIC, "status", {"loop": loop})
            except (ErrorReply, OSError, EOFError, RuntimeError) as error:
                if isinstance(error, ErrorReply) and not error.response["retryable"]:
                    raise
                await asyncio.sleep(0.05)


async def until_step(up: Up, loop: str, step: str, story: int) -> None:
    async def there() -> bool:
        found = await status(up, loop)
        assert (found["story"], found["status"]) <= (story, "running"), found
        return (found["step"], found["story"]) == (step, story)

    await until(there, f"{loop} is in {step} of story {story}")


def test_its_table_is_the_same_in_both_languages_and_in_the_docs() -> None:
    [table] = re.findall(
        r'STEPS = """\n(.*?)"""', (EXAMPLES / "agents/agents.py").read_text(), re.S
    )
    for file, indent in ((EXAMPLES / "agents/agents.ex", 2), (ROOT / "docs/activities.md", 4)):
        assert "".join(" " * indent + row for row in table.splitlines(True)) in file.read_text()


@pytest.mark.skipif(not HAS_ELIXIR, reason="there is no Elixir on this machine")
def test_every_scenario_comes_out_the_same_in_python_and_elixir(tmp_path: Path) -> None:
    checked = bridge(tmp_path, "contracts", "check", *YOURS, "--require", "python,elixir")
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.slow
@pytest.mark.skipif(not HAS_ELIXIR, reason="there is no Elixir on this machine")
@pytest.mark.skipif(not shutil.which("node"), reason="there is no Node on this machine")
def test_a_loop_is_finished_though_everything_is_killed_and_it_moves_in_the_middle(
    up: Up,
) -> None:
    async def test() -> None:
        async with joined(up) as client:
            await client.push(TOPIC, "start", {"loop": "one", "goal": GOAL})
        await until_step(up, "one", "implement", 0)
        kill(up, "main.js")  # the service, in a step
        await until_step(up, "one", "review", 0)
        moved = bridge(up.directory, "route", "agents", "python")
        assert moved.returncode == 0, moved.stderr
        await until_step(up, "one", "tests", 1)
        kill(up, "-m bridge.gateway")  # every worker, in a step
        await until_step(up, "one", "implement", 1)
        moved = bridge(up.directory, "route", "agents", "elixir")
        assert moved.returncode == 0, moved.stderr
        kill(up, "beam.smp")  # the node, which has the state machine now

        async def ended() -> bool:
            return bool((await status(up, "one"))["ended_ms"])

        await until(ended, "the loop has ended")
        found = await status(up, "one")
        assert found["status"] == "failed"  # a story was impossible
        stories = [(story["title"], story["status"]) for story in found["stories"]]
        assert stories == [
            ("a dial", "passed"),
            ("hard hands", "passed"),
            ("impossible bells", "failed"),
        ]

    asyncio.run(test())
    verified = bridge(up.directory, "journal", "verify", "agents")
    assert verified.returncode == 0, verified.stdout
    listed = bridge(up.directory, "journal", "list", "agents", "--json").stdout.splitlines()
    assert {json.loads(line)["runtime"] for line in listed} == {"python", "elixir"}
    # Each step counted once, however often it was begun: the ladder is climbed where the judge
    # says no, and nowhere else.
    tools = [line.split(" ")[1:] for line in asked(up) if " implement " in f" {line} "]
    assert {tuple(each) for each in tools} == {
        ("implement", "story-1", "codex"),
        ("implement", "story-2", "codex"),
        ("implement", "story-2", "claude"),
        ("implement", "story-3", "codex"),
        ("implement", "story-3", "claude"),
    }


@pytest.mark.skipif(not shutil.which("node"), reason="there is no Node on this machine")
def test_its_progress_is_a_stream_of_events_and_a_cancelled_loop_stops_in_its_step(
    up: Up,
) -> None:
    async def test() -> None:
        async with joined(up) as client:
            await client.push(TOPIC, "start", {"loop": "two", "goal": "a dial"})
            seen = []
            while ("step.started", "implement") not in seen:
                async with asyncio.timeout(DEADLINE_S):
                    event = await client.events.get()
                assert event is not None
                _, name, told = event
                if told["payload"]["loop"] == "two":
                    seen.append((name, told["payload"].get("step", "")))
            assert await client.push(TOPIC, "cancel", {"loop": "two"}) == {"cancelled": True}
            assert (await client.push(TOPIC, "status", {"loop": "two"}))["status"] == "cancelled"
            assert seen == [
                ("loop.started", ""),
                ("step.started", "plan"),
                ("step.ended", "plan"),
                ("step.started", "tests"),
                ("step.ended", "tests"),
                ("step.started", "implement"),
            ]

        async def nothing_left() -> bool:
            return bridge(up.directory, "outbox", "agents", "--json").stdout == ""

        await until(nothing_left, "its call is gone")

    asyncio.run(test())
