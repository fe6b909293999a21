"""`bridge new`, and what it writes."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from bridge.cli.new import TEMPLATE
from bridge.contracts.check import check_contracts
from bridge.contracts.implementations import load
from bridge.contracts.registry import Registry
from bridge.message import RUNTIMES
from tests.cli.conftest import Cli

# A runtime's message about the line that is missing, and where it is to stand.
MISSING = re.compile(
    r"yours to write: (?P<line>.*?)(?: in \S+/4)? \((?P<file>\S+):(?P<at>\d+)\)$"
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder of the test's own the working directory, and return it."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def files(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def problems(rows: list[Any]) -> dict[str, str]:
    """Return what failed, by runtime; at most once in each."""
    failed = [row for row in rows if row["problem"]]
    assert len({row["runtime"] for row in failed}) == len(failed), failed
    return {row["runtime"]: row["problem"] for row in failed}


@pytest.mark.parametrize(
    ("runtimes", "suffixes", "fallback"),
    [
        ("python", ["py"], None),
        ("typescript,elixir", ["ts", "ex"], "elixir"),
        ("elixir, python,typescript", ["ex", "py", "ts"], "python"),
    ],
)
def test_the_files_are_the_contract_its_scenarios_and_a_handler_per_runtime(
    alone: Cli, here: Path, runtimes: str, suffixes: list[str], fallback: str | None
) -> None:
    done = alone("new", "my-queue", "--runtimes", runtimes)
    assert (done.code, done.err) == (0, "")
    written = [f"my-queue/{n}" for n in ("subsystem.json", "scenarios.json")]
    written += [f"my-queue/my-queue.{suffix}" for suffix in suffixes]
    written.append("implementations.json")
    assert re.findall(r"^wrote (.+)$", done.out, re.MULTILINE) == written
    assert sorted(files(here)) == sorted(written)
    contract = Registry.load(here).get("my-queue")
    assert (contract.owner, contract.fallback) == (runtimes.split(",")[0], fallback)
    assert list(contract.events) == ["my-queue.added"]
    assert [row.problem for row in check_contracts([here])] == [""]
    assert list(load(here / "implementations.json")) == ["my-queue"]


def test_one_line_is_missing_in_each_runtime_and_its_message_says_which(
    alone: Cli, here: Path
) -> None:
    told = alone("new", "to-do", "--runtimes", ",".join(RUNTIMES), "--into", "mine")
    assert told.code == 0, told.err
    command = re.search(r"^ +bridge (contracts check .*)$", told.out, re.MULTILINE)
    assert command is not None
    check = shlex.split(command[1])
    done = alone(*check, "--json")
    there = [name for name in RUNTIMES if f"{name} is left out" not in done.err]
    assert "python" in there
    failed = problems(done.rows)
    assert (done.code, sorted(failed)) == (1, sorted(there))
    for problem in failed.values():
        missing = MISSING.search(problem)
        assert missing is not None, problem
        path = here / "mine" / "to-do" / missing["file"]
        lines = path.read_text().splitlines()
        at = int(missing["at"]) - 1
        before, until_then, _ = re.split(r"(\S.*)", lines[at], maxsplit=1)
        assert "yours to write" in until_then
        lines[at] = before + missing["line"]
        path.write_text("\n".join(lines) + "\n")
        assert lines[at] in (TEMPLATE / f"tally{path.suffix}").read_text().splitlines()
    done = alone(*check, "--json")
    assert (done.code, problems(done.rows)) == (0, {}), done.out
    ran = {row["runtime"] for row in done.rows if row["check"] == "scenario"}
    assert ran == set(there)


def test_an_entry_is_added_to_the_implementations_there_are_and_they_stay_as_they_are(
    alone: Cli, here: Path
) -> None:
    (here / "mine.py").write_text("handle = print\n")
    index = here / "implementations.json"
    for before, after in (
        ("{}", "{\n  "),
        ('{"mine": {"python":   "mine.py"}\n}', '{"mine": {"python":   "mine.py"},\n  '),
    ):
        index.write_text(before)
        assert alone("new", f"n{len(before)}").code == 0
        entry = f'"n{len(before)}": {{\n    "python": "./n{len(before)}/n{len(before)}.py"\n  }}'
        assert index.read_text() == f"{after}{entry}\n}}"


@pytest.mark.parametrize(
    ("prepared", "says"),
    [
        ({"tally/notes.txt": "mine"}, "tally is there already (notes.txt): "),
        ({"tally": "a file"}, "tally is there already (a file): "),
        (
            {"implementations.json": '{"tally": {"python": "a:b"}}'},
            "implementations.json has tally already: ",
        ),
        ({"implementations.json": "[]"}, "implementations.json: (whole file): type: "),
        ({"implementations.json": "{"}, "implementations.json: (whole file): json: "),
    ],
    ids=json.dumps,
)
def test_nothing_that_is_there_is_overwritten(
    alone: Cli, here: Path, prepared: dict[str, str], says: str
) -> None:
    for name, text in prepared.items():
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text(text)
    done = alone("new", "tally")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"bridge: {says}")
    assert files(here) == prepared


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("Tally",), "expected a name by the pattern ^[a-z][a-z0-9_-]{0,63}$, got 'Tally'"),
        (("a" * 65,), "expected a name by the pattern"),
        (("heartbeat",), "heartbeat is the bridge's own, as are heartbeat, "),
        (("outlet",), "outlet is the bridge's own"),
        (("phoenix",), "phoenix is the bridge's own"),
        (("a", "--runtimes", "ruby"), "--runtimes: expected some of python, typescript, elixir"),
        (("a", "--runtimes", ""), "--runtimes: expected some of"),
        (("a", "--runtimes", "python,python"), "--runtimes: expected some of"),
    ],
)
def test_what_cannot_be_is_asked_wrongly(
    alone: Cli, here: Path, arguments: tuple[str, ...], says: str
) -> None:
    done = alone("new", *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"bridge: {says}")
    assert files(here) == {}


def test_the_template_has_no_names_but_the_one_that_is_replaced(alone: Cli, here: Path) -> None:
    assert alone("new", "kept-9", "--runtimes", ",".join(RUNTIMES)).code == 0
    texts = "\n".join(files(here).values())
    assert "tally" not in texts.lower()
    assert "defmodule Subsystem.Kept9 do" in texts
