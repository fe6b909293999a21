"""Subsystems of the user's: what `bridge up` says of them before it starts, and after."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from bridge.up.yours import said_of
from tests.running import ALONE, Up, bridge


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


def test_what_cannot_be_loaded_is_left_out_and_the_others_serve(tmp_path: Path) -> None:
    folder = new(tmp_path, "python")
    index = folder / "implementations.json"
    entries = json.loads(index.read_text())
    for name, broken in {
        "importless": "import no_such_module_here\n",
        "exiting": "import os\nos._exit(7)\n",
        "contractless": "",
    }.items():
        shutil.copytree(folder / "tally", folder / name)
        contract = folder / name / "subsystem.json"
        contract.write_text(contract.read_text().replace('"tally"', f'"{name}"'))
        (folder / name / "tally.py").write_text(broken)
        entries[name] = {"python": f"./{name}/tally.py"}
    broken_contract = folder / "contractless" / "subsystem.json"
    broken_contract.write_text(broken_contract.read_text().replace('"integer"', '"sting"'))
    entries["taly"] = entries["tally"]
    index.write_text(json.dumps(entries))
    done = bridge(tmp_path, "up", "--check", "--port", "0", *folders(folder), **ALONE)
    assert done.returncode == 1
    assert re.search(r"^python +tally +- +ok$", done.stdout, re.MULTILINE), done.stdout
    told = done.stdout.splitlines()
    left_out = [line.split("left out: ")[1] for line in told if "left out" in line]
    assert [re.sub(r"\S*/mine/", "", line)[:60] for line in left_out] == [
        "contractless/subsystem.json: /$defs/Total/properties/total/t",
        "implementations.json: /taly: contract: there is no contract ",
        "importless/tally.py: /importless/python: import: ModuleNotFo",
        "exiting/tally.py: /exiting/python: import: the process that ",
    ]


def test_doctor_and_status_say_what_was_left_out(tmp_path: Path) -> None:
    folder = new(tmp_path, "python")
    (folder / "tally" / "tally.py").write_text("1 / 0\n")
    with Up(tmp_path, *folders(folder), **ALONE) as up:
        assert up.run["url"]
        for command in ("doctor", "status"):
            done = bridge(tmp_path, command)
            assert "ZeroDivisionError" in done.stdout + done.stderr, command


def test_the_last_a_log_says_of_a_file_is_the_reason(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert said_of(log, "/a.ts") == ""
    log.write_text("x: /a.ts: one\nx: /a.ts: two\nx: /b.ts: three\n")
    assert said_of(log, "/a.ts") == "/a.ts: two"
