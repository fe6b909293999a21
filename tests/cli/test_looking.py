"""`settings`, `contracts`, `doctor`, the reference, and the command line itself."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from bridge import __version__
from bridge.cli.reference import pages
from bridge.contracts.files import BUILT_IN
from bridge.contracts.registry import Registry
from bridge.settings import Settings
from tests.cli.conftest import Cli
from tests.running import SUBSYSTEMS, Up


def test_settings_lists_every_one_and_hides_secrets(
    alone: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRIDGE_TOKEN", "very secret")
    monkeypatch.setenv("BRIDGE_REDIS_URL", "redis://me:very-secret@host:1/0")
    done = alone("settings", "--json")
    rows = {row["name"]: row for row in done.rows}
    assert list(rows) == [f"BRIDGE_{field.name.upper()}" for field in fields(Settings)]
    assert rows["BRIDGE_TOKEN"]["value"] == "(set)"
    assert rows["BRIDGE_REDIS_URL"]["value"] == "redis://me:***@host:1/0"
    assert rows["BRIDGE_PORT"]["value"] == 4100
    assert "secret" not in alone("settings").out


def test_a_setting_that_is_none_has_exit_code_2(
    alone: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRIDGE_COLOUR", "red")
    done = alone("settings")
    assert (done.code, done.out) == (2, "")
    assert done.err == "bridge: BRIDGE_COLOUR: no such setting; `bridge settings` lists them\n"


def test_a_misspelt_setting_is_told_with_the_nearest(
    alone: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRIDGE_TOKN", "secret")
    assert alone("settings").err == (
        "bridge: BRIDGE_TOKN: no such setting, BRIDGE_TOKEN perhaps; `bridge settings` lists"
        " them\n"
    )


def test_contracts_are_listed_and_shown(alone: Cli) -> None:
    rows = alone("contracts", "list", "--contracts", str(SUBSYSTEMS), "--json").rows
    assert [row["name"] for row in rows] == Registry.load(BUILT_IN, SUBSYSTEMS).names()
    shown = alone("contracts", "show", "heartbeat", "--json").rows
    assert [(row["operation"], row["kind"]) for row in shown] == [
        ("configure", "command"),
        ("tick", "command"),
        ("status", "query"),
    ]
    assert shown[2]["request"] == {"$ref": "#/$defs/Nothing"}
    assert shown[2]["example"] == "bridge call heartbeat:early status '{}'"
    text = alone("contracts", "show", "heartbeat").out
    assert '\nbridge call heartbeat:early configure \'{"every_ms": 900000, ' in text
    assert '"Nothing": {' in text
    assert alone("contracts").out.startswith("subsystem ")
    assert alone("contracts", "show", "nothing").code == 1


def test_contracts_check_runs_the_scenarios(alone: Cli) -> None:
    done = alone("contracts", "check", "heartbeat", "--json")
    assert done.code == 0, done.out + done.err
    runtimes = {row["runtime"] for row in done.rows if row["check"] == "scenario"}
    assert "python" in runtimes
    assert {row["result"] for row in done.rows} == {"ok"}


def test_contracts_check_fails_if_a_runtime_that_is_required_did_not_run(
    alone: Cli, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    assert alone("new", "tally", "--runtimes", "python", "--into", str(folder)).code == 0
    asked = ("contracts", "check", "--contracts", str(folder), "--json")
    done = alone(*asked, "--require", "elixir")
    assert done.code == 1
    assert {"runtime": "elixir", "result": "required, and no scenario ran in it"}.items() <= (
        done.rows[-1].items()
    )
    wrong = alone(*asked, "--require", "python,java")
    assert (wrong.code, "got java" in wrong.err) == (2, True)


def test_contracts_check_names_file_pointer_and_rule(alone: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "subsystem.json").write_text('{"name": "mine"}')
    done = alone("contracts", "check", "--contracts", str(tmp_path), "--json")
    assert done.code == 1
    (broken,) = [row for row in done.rows if row["problem"]]
    assert broken["problem"].startswith(f"{folder}/subsystem.json: ")


def test_contracts_check_of_a_folder_is_about_that_folder_alone(alone: Cli) -> None:
    folders = ("--contracts", str(SUBSYSTEMS))
    files = ("--implementations", str(SUBSYSTEMS / "implementations.json"))
    done = alone("contracts", "check", *folders, *files, "--json")
    assert done.code == 0, done.out + done.err
    assert {row["check"] for row in done.rows} == {"contract", "scenario"}
    mine = {file.parent.name for file in SUBSYSTEMS.glob("*/subsystem.json")}
    assert {row["subsystem"] for row in done.rows} == mine


def test_contracts_check_without_an_implementation_is_not_well(
    alone: Cli, tmp_path: Path
) -> None:
    done = alone("contracts", "check", "--contracts", str(SUBSYSTEMS), "--json")
    assert done.code == 1
    assert "bridge: counter: its owner is python, which has no implementation of it" in done.err
    assert done.rows[-1]["problem"].startswith("no runtime here implements it: ")


def test_contracts_check_says_why_a_runtime_does_not_serve_one(
    alone: Cli, tmp_path: Path
) -> None:
    alone("new", "tally", "--runtimes", "python,typescript,elixir", "--into", str(tmp_path))
    broken = {"typescript": tmp_path / "tally/tally.ts", "elixir": tmp_path / "tally/tally.ex"}
    for path in broken.values():
        path.write_text("(")
    files = ("--implementations", str(tmp_path / "implementations.json"))
    done = alone("contracts", "check", "--contracts", str(tmp_path), *files, "--json")
    problems = {row["runtime"]: row["problem"] for row in done.rows if row["problem"]}
    for runtime, path in broken.items():
        if f"{runtime} is left out" not in done.err:
            assert problems[runtime].startswith(f"not served: {path}: ")
    assert problems["python"].startswith("/scenarios/1/steps/1 (add): ")


def test_doctor_finds_a_running_bridge_well(cli: Cli, up: Up) -> None:
    done = cli("doctor", "--json")
    found = {row["what"]: row for row in done.rows}
    assert done.code == 0, done.out
    assert found["bridge"]["found"] == f"pid {up.process.pid} serves {up.run['url']}"
    for what in ("python", "directory", "contracts", "health", "python serves", "redis", "clock"):
        assert found[what]["state"] == "ok", found[what]
    assert found["elixir serves"]["state"] == "warn"


def test_doctor_without_a_bridge_says_how_to_start_it(alone: Cli) -> None:
    done = alone("doctor", "--json")
    found = {row["what"]: row for row in done.rows}
    assert done.code == 0
    assert found["bridge"]["state"] == "warn"
    assert "`bridge up`" in found["bridge"]["found"]


def test_doctor_live_is_a_health_check(cli: Cli) -> None:
    done = cli("doctor", "--live", "--json")
    assert done.code == 0
    assert done.rows[0] == {"what": "health", "state": "ok", "found": "answers"}


def test_doctor_live_fails_without_a_bridge(alone: Cli) -> None:
    assert alone("doctor", "--live").code == 1


def test_doctor_fails_with_the_way_out(alone: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_HOST", "0.0.0.0")
    monkeypatch.setenv("BRIDGE_REDIS_URL", "redis://127.0.0.1:1/0")
    done = alone("doctor", "--json")
    found = {row["what"]: row for row in done.rows}
    assert done.code == 1
    assert "set BRIDGE_TOKEN" in found["address"]["found"]
    assert found["redis"]["state"] == "fail"


def test_the_reference_is_what_the_parser_and_the_settings_say() -> None:
    for path, text in pages().items():
        assert path.read_text() == text, f"{path} drifted: run `make generate`"


@pytest.mark.parametrize("command", [(), ("nothing",), ("call",), ("journal", "nothing")])
def test_a_wrong_command_has_exit_code_2(alone: Cli, command: tuple[str, ...]) -> None:
    done = alone(*command)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("usage: bridge")


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bridge", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{__version__}\n"


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = f"{sys.executable} -m bridge settings --json | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert done.stdout.startswith('{"name":"BRIDGE_DIR"')
    assert done.stderr == ""
