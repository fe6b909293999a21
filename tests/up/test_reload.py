"""What runs is what was there at the start, until `bridge reload`: then it is new everywhere."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
from functools import partial
from pathlib import Path

import pytest

from bridge.cli.new import TEMPLATE
from bridge.client import connected
from bridge.message import RUNTIMES
from bridge.up import programs
from bridge.up.programs import Command
from tests.deadline import until
from tests.running import ALONE, Up, answered, bridge
from tests.up.test_nodes import workers_of

PYTHON = """
from .rules import MORE

def handle(state, operation, request, context):
    return {"total": state["total"] + MORE}, [], state
"""
TYPESCRIPT = """
import { MORE } from "./rules.ts";

export function handle(state: { total: number }) {
  return { reply: { total: state.total + MORE }, effects: [], state };
}
"""
ELIXIR = """
defmodule Reloaded.Tally do
  @behaviour Bridge.Implementation
  @impl true
  def handle(%{"total" => total} = state, _, _, _), do: {:ok, %{"total" => total + 1}, [], state}
end
"""


def written(folder: Path, *runtimes: str) -> Path:
    """Write a subsystem whose replies are 1 too large in each runtime."""
    mine = folder / "tally"
    mine.mkdir(parents=True)
    shutil.copyfile(TEMPLATE / "subsystem.json", mine / "subsystem.json")
    (mine / "tally.py").write_text(PYTHON)
    (mine / "rules.py").write_text("MORE = 1\n")
    (mine / "tally.ts").write_text(TYPESCRIPT)
    (mine / "rules.ts").write_text("export const MORE = 1;\n")
    (mine / "tally.ex").write_text(ELIXIR)
    suffixes = {"python": "py", "typescript": "ts", "elixir": "ex"}
    entries = {name: f"./tally/tally.{suffixes[name]}" for name in runtimes}
    (folder / "implementations.json").write_text(json.dumps({"tally": entries}))
    return folder


def arguments(folder: Path) -> tuple[str, ...]:
    file = str(folder / "implementations.json")
    return ("--contracts", str(folder / "tally"), "--implementations", file)


async def totals(up: Up, runtime: str = "python") -> set[int]:
    """Return what a total of 0 is said to be, over so many connections that all workers say.

    A worker may not have met the runtime yet.
    """

    async def ask() -> int:
        async with connected(up.run["url"]) as client:
            await client.join("tally:a")
            reply = await answered(partial(client.push, "tally:a", "total", {"runtime": runtime}))
            return int(reply["total"])

    return set(await asyncio.gather(*(ask() for _ in range(20))))


async def replaced(up: Up) -> None:
    """Kill one worker, and wait for the one in its place."""
    before = workers_of(up)
    os.kill(min(before), signal.SIGKILL)
    logs = up.directory / "logs" / "worker.log"
    serving = logs.read_text().count(" serving ")
    await until(lambda: logs.read_text().count(" serving ") > serving, "another one serves")


def test_a_worker_started_after_an_edit_runs_what_the_others_run(tmp_path: Path) -> None:
    folder = written(tmp_path / "mine", "python")

    async def scenario(up: Up) -> None:
        (folder / "tally" / "rules.py").write_text("MORE = 2\n")
        (folder / "tally" / "tally.py").write_text(PYTHON.replace("MORE}", "MORE * 10}"))
        await replaced(up)
        assert await totals(up) == {1}
        (folder / "tally" / "rules.py").unlink()
        (folder / "tally" / "tally.py").unlink()
        (folder / "implementations.json").write_text("{}")
        (folder / "tally" / "subsystem.json").write_text("{}")
        await replaced(up)
        assert await totals(up) == {1}

    with Up(tmp_path / "dir", *arguments(folder), **ALONE) as up:
        asyncio.run(scenario(up))


def test_a_change_is_said_and_taken_in_by_all_workers_at_once(tmp_path: Path) -> None:
    folder = written(tmp_path / "mine", "python")
    directory = tmp_path / "dir"
    with Up(directory, *arguments(folder), **ALONE) as up:
        assert "changed" not in bridge(directory, "status").stderr
        assert bridge(directory, "call", "tally:a", "add", '{"n": 1}').returncode == 0
        (folder / "tally" / "rules.py").write_text("MORE = 2\n")
        said = bridge(directory, "status").stderr
        changed = f"{folder}/tally/rules.py changed since: `bridge reload tally` takes it in"
        assert said == f"bridge: tally in python: {changed}\n"
        assert changed in bridge(directory, "doctor").stdout

        done = bridge(directory, "reload", "tally")
        assert done.returncode == 0, done.stderr
        digests = re.fullmatch(r"python: ([0-9a-f]{12}) -> ([0-9a-f]{12})\n", done.stdout)
        assert digests is not None, done.stdout
        assert asyncio.run(totals(up)) == {2}
        assert bridge(directory, "status").stderr == ""

        assert bridge(directory, "call", "tally:a", "add", '{"n": 1}').returncode == 0
        listed = bridge(directory, "journal", "list", "--json").stdout.splitlines()
        builds = [json.loads(line)["build"].partition("+")[2] for line in listed]
        assert builds == list(digests.groups())

        again = bridge(directory, "reload", "tally")
        assert again.stdout == f"python: {digests[2]}, as before\n"


def test_no_commit_of_an_epoch_is_of_two_builds_whichever_worker_makes_it(tmp_path: Path) -> None:
    folder = written(tmp_path / "mine", "python")
    directory = tmp_path / "dir"

    async def add(up: Up, key: str, ended: asyncio.Event) -> None:
        async with connected(up.run["url"]) as client:
            await client.join(f"tally:{key}")
            while not ended.is_set():
                await client.push(f"tally:{key}", "add", {"n": 1})

    async def scenario(up: Up) -> None:
        ended = asyncio.Event()
        # Several sockets on few keys: both workers commit to each of them.
        adding = [asyncio.create_task(add(up, str(n % 2), ended)) for n in range(8)]
        for more in (2, 3, 4):
            (folder / "tally" / "rules.py").write_text(f"MORE = {more}\n")
            done = await asyncio.to_thread(bridge, directory, "reload", "tally")
            assert done.returncode == 0, done.stderr
        ended.set()
        await asyncio.gather(*adding)

    with Up(directory, *arguments(folder), **ALONE) as up:
        asyncio.run(scenario(up))
        listed = bridge(
            directory, "journal", "list", "tally", "--json", "--limit", "100000"
        ).stdout
    builds: dict[int, set[str]] = {}
    for line in listed.splitlines():
        entry = json.loads(line)
        builds.setdefault(entry["epoch"], set()).add(entry["build"])
    assert sorted(builds) == [1, 2, 3, 4]
    assert [len(found) for found in builds.values()] == [1, 1, 1, 1]
    assert len(set.union(*builds.values())) == 4


def test_reloads_at_the_same_time_go_one_after_the_other(tmp_path: Path) -> None:
    folder = written(tmp_path / "mine", "python", "elixir")
    directory = tmp_path / "dir"

    async def reload() -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(bridge, directory, "reload", "tally")

    async def scenario() -> list[subprocess.CompletedProcess[str]]:
        return await asyncio.gather(*(reload() for _ in range(3)))

    with Up(directory, *arguments(folder), **ALONE) as up:
        (folder / "tally" / "rules.py").write_text("MORE = 2\n")
        done = asyncio.run(scenario())
        assert [d.returncode for d in done] == [0, 0, 0], [d.stderr for d in done]
        elsewhere = "elixir: not started by this bridge, so start it again yourself\n"
        assert all(d.stdout.startswith(elsewhere) for d in done)
        assert sorted(" -> " in d.stdout for d in done) == [False, False, True]
        assert asyncio.run(totals(up)) == {2}


def status_has_it(directory: Path) -> bool:
    found = bridge(directory, "status").stdout
    return re.search("^python +serves .*tally", found, re.MULTILINE) is not None


def test_what_was_left_out_of_the_start_is_taken_in_once_it_is_mended(tmp_path: Path) -> None:
    folder = written(tmp_path / "mine", "python")
    directory = tmp_path / "dir"
    (folder / "tally" / "tally.py").write_text("1 / 0")
    with Up(directory, *arguments(folder), **ALONE) as up:
        assert "ZeroDivisionError" in bridge(directory, "doctor").stdout
        (folder / "tally" / "tally.py").write_text(PYTHON)
        done = bridge(directory, "reload", "tally")
        assert done.returncode == 0, done.stderr
        done = bridge(directory, "route", "tally", "python")  # before anybody asked for it
        assert done.returncode == 0, done.stderr
        asyncio.run(until(lambda: status_has_it(directory), "status says so, by 1 s later"))
        assert "ZeroDivisionError" not in bridge(directory, "doctor").stdout
        assert asyncio.run(totals(up)) == {1}


def test_what_cannot_be_imported_is_not_taken_in(tmp_path: Path) -> None:
    folder = written(tmp_path / "mine", "python")
    directory = tmp_path / "dir"
    with Up(directory, *arguments(folder), **ALONE) as up:
        (folder / "tally" / "tally.py").write_text("def handle(:")
        done = bridge(directory, "reload", "tally")
        assert done.returncode == 1
        assert "SyntaxError" in done.stderr
        assert done.stderr.endswith("; all goes on as it was\n")
        unknown = bridge(directory, "reload", "tale")
        assert unknown.returncode == 1
        assert "no implementation of 'tale', of heartbeat" in unknown.stderr
        asyncio.run(replaced(up))
        assert asyncio.run(totals(up)) == {1}


@pytest.mark.slow
@pytest.mark.skipif(
    not isinstance(programs.elixir(programs.search_path()), Command)
    or not isinstance(programs.typescript(programs.search_path()), Command),
    reason="a runtime is not on this machine",
)
def test_the_other_runtimes_too_run_what_was_there_at_the_start(tmp_path: Path) -> None:
    folder = written(tmp_path / "mine", *RUNTIMES)
    directory = tmp_path / "dir"

    async def scenario(up: Up) -> None:
        for runtime in RUNTIMES:
            assert await totals(up, runtime) == {1}
        (folder / "tally" / "rules.py").write_text("MORE = 2\n")
        (folder / "tally" / "rules.ts").write_text("export const MORE = 2;\n")
        (folder / "tally" / "tally.ex").write_text(ELIXIR.replace("+ 1", "+ 2"))
        children = up.children()
        for pid, text in children.items():
            if "beam.smp" in text or "main." in text:
                os.kill(pid, signal.SIGKILL)
        for runtime in RUNTIMES:
            await until(partial(served, directory, runtime), f"{runtime} is back")
            assert await totals(up, runtime) == {1}

    with Up(directory, *arguments(folder)) as up:
        asyncio.run(scenario(up))
        said = bridge(directory, "status").stderr
        for runtime in RUNTIMES:
            assert f"tally in {runtime}: " in said
        done = bridge(directory, "reload", "tally")
        assert done.returncode == 0, done.stderr
        assert re.fullmatch(r"(\w+: \w{12} -> \w{12}\n){3}", done.stdout), done.stdout
        for runtime in RUNTIMES:
            assert asyncio.run(totals(up, runtime)) == {2}
            route = bridge(directory, "route", "tally", runtime)
            assert route.returncode == 0, route.stderr
            assert bridge(directory, "call", "tally:a", "add", '{"n": 1}').returncode == 0
        listed = bridge(directory, "journal", "list", "--json").stdout.splitlines()
        builds = [json.loads(line)["build"].partition("+")[2] for line in listed]
        assert builds == [line.split()[-1] for line in _by_runtime(done.stdout)]


@pytest.mark.slow
@pytest.mark.skipif(
    not isinstance(programs.elixir(programs.search_path()), Command),
    reason="there is no elixir on this machine",
)
def test_a_running_node_takes_in_code_under_load_and_no_message_is_lost(tmp_path: Path) -> None:
    folder = written(tmp_path / "mine", "elixir")
    directory = tmp_path / "dir"
    answered_since: list[int] = []

    async def add(up: Up, key: str, ended: asyncio.Event) -> int:
        count = 0
        async with connected(up.run["url"]) as client:
            await client.join(f"tally:{key}")
            while not ended.is_set():
                answered_since.append(
                    (await client.push(f"tally:{key}", "add", {"n": 1}))["total"]
                )
                count += 1
        return count

    async def scenario(up: Up) -> int:
        ended = asyncio.Event()
        adding = [asyncio.create_task(add(up, str(n % 2), ended)) for n in range(8)]
        for more in (2, 3, 4):
            (folder / "tally" / "tally.ex").write_text(ELIXIR.replace("+ 1", f"+ {more}"))
            done = await asyncio.to_thread(bridge, directory, "reload", "tally")
            assert done.returncode == 0, done.stderr
            assert re.fullmatch(r"elixir: \w{12} -> \w{12}\n", done.stdout), done.stdout
            answered_since.clear()
            await until(lambda: len(answered_since) > 20, "the new code has answered")
            assert set(answered_since) == {more}
        ended.set()
        return sum(await asyncio.gather(*adding))

    with Up(directory, *arguments(folder), BRIDGE_TYPESCRIPT="off") as up:
        assert asyncio.run(totals(up, "elixir")) == {1}
        assert bridge(directory, "route", "tally", "elixir").returncode == 0
        before = up.children().keys()
        count = asyncio.run(scenario(up))
        assert up.children().keys() == before
        listed = bridge(
            directory, "journal", "list", "tally", "--json", "--limit", "100000"
        ).stdout
    builds: dict[str, list[str]] = {}
    for line in listed.splitlines():
        entry = json.loads(line)
        builds.setdefault(entry["key"], []).append(entry["build"])
    assert sum(map(len, builds.values())) == count
    for of_key in builds.values():
        assert len([one for one, _ in itertools.groupby(of_key)]) == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runtime", "file", "text", "why"),
    [
        ("typescript", "tally.ts", "export const handle = {", "tally.ts:1:24: "),
        ("typescript", "tally.ts", "export const other = 1;", "export named handle"),
        ("typescript", "tally.ts", "export async function handle() {}", "this one is async"),
        ("elixir", "tally.ex", "defmodule Reloaded.Tally do", "missing terminator: end"),
        ("elixir", "tally.ex", "defmodule Reloaded.Tally do\nend", "expected one module"),
    ],
)
def test_what_the_other_runtimes_cannot_load_is_not_taken_in_either(
    tmp_path: Path, runtime: str, file: str, text: str, why: str
) -> None:
    found = {"typescript": programs.typescript, "elixir": programs.elixir}[runtime]
    if not isinstance(found(programs.search_path()), Command):
        pytest.skip(f"there is no {runtime} on this machine")
    folder = written(tmp_path / "mine", runtime)
    directory = tmp_path / "dir"
    off = {"typescript": "BRIDGE_NODE", "elixir": "BRIDGE_TYPESCRIPT"}[runtime]
    with Up(directory, *arguments(folder), **{off: "off"}) as up:
        (folder / "tally" / file).write_text(text)
        before = up.children()
        done = bridge(directory, "reload", "tally")
        assert done.returncode == 1
        assert why in done.stderr, done.stderr
        assert done.stderr.endswith("; all goes on as it was\n")
        assert up.children().keys() == before.keys()
        assert asyncio.run(totals(up, runtime)) == {1}


def _by_runtime(said: str) -> list[str]:
    return sorted(said.splitlines(), key=lambda line: RUNTIMES.index(line.split(":")[0]))


def served(directory: Path, runtime: str) -> bool:
    asked = bridge(directory, "call", "tally:a", "total", json.dumps({"runtime": runtime}))
    return asked.returncode == 0
