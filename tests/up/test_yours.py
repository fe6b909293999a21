"""Subsystems of the user's: what `bridge up` says of them before it starts, and after."""

from __future__ import annotations

import re
from pathlib import Path

from bridge.up.yours import said_of
from tests.running import ALONE, bridge


def folders(folder: Path) -> tuple[str, ...]:
    return (
        *("--contracts", str(folder)),
        *("--implementations", str(folder / "implementations.json")),
    )


def new(tmp_path: Path, runtimes: str) -> Path:
    folder = tmp_path / "mine"
    done = bridge(tmp_path, "new", "tally", "--runtimes", runtimes, "--into", str(folder))
    assert done.returncode == 0, done.stderr
    return folder


def test_what_is_served_is_in_the_table(tmp_path: Path) -> None:
    folder = new(tmp_path, "python")
    done = bridge(tmp_path, "up", "--check", "--port", "0", *folders(folder), **ALONE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^python +tally +- +ok$", done.stdout, re.MULTILINE)


def test_a_runtime_the_contract_names_without_an_implementation_is_told(tmp_path: Path) -> None:
    folder = new(tmp_path, "python")
    (folder / "implementations.json").write_text("{}")
    done = bridge(tmp_path, "up", "--check", "--port", "0", *folders(folder), **ALONE)
    assert done.returncode == 1
    told = rf"python +tally +- +not served: the contract names python, {folder}/impl\S+ has none"
    assert re.search(told, done.stdout), done.stdout


def test_a_python_file_that_cannot_be_imported_stops_the_start_at_once(tmp_path: Path) -> None:
    folder = new(tmp_path, "python")
    path = folder / "tally" / "tally.py"
    path.write_text("import no_such_module_here\n")
    done = bridge(tmp_path, "up", "--port", "0", *folders(folder), **ALONE)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"bridge: {path}: /tally/python: import: ModuleNotFoundError: ")
    assert not (tmp_path / "run.json").exists()


def test_an_implementation_without_a_contract_stops_the_start(tmp_path: Path) -> None:
    folder = new(tmp_path, "python")
    index = folder / "implementations.json"
    index.write_text(index.read_text().replace('"tally"', '"taly"'))
    done = bridge(tmp_path, "up", "--port", "0", *folders(folder), **ALONE)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"bridge: {index}: /taly: contract: there is no contract of")


def test_the_last_a_log_says_of_a_file_is_the_reason(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert said_of(log, "/a.ts") == ""
    log.write_text("x: /a.ts: one\nx: /a.ts: two\nx: /b.ts: three\n")
    assert said_of(log, "/a.ts") == "/a.ts: two"
