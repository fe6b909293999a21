"""`bridge contracts check` for machines: JUnit, GitHub, --accept, --require."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bridge.cli import main
from bridge.cli.reports import junit, workflow_commands
from bridge.contracts.check import Row

STEP = "/scenarios/0/steps/0"
HANDLER = """
from bridge.errors import Refusal

def handle(state, operation, request, context):
    if operation == "total":
        return state, [], state
    total = state["total"] + request["n"]
    if total > 10:
        raise Refusal("full", "ten at most")
    return {"total": total}, [], {"total": total}
"""


def test_rows_are_written_as_junit_has_it() -> None:
    rows = [
        Row("contract", "tally", "tally@1"),
        Row("scenario", "tally", "One\x00", "python", "/a: <expected>", "f.json", "/a"),
    ]
    suite = ElementTree.fromstring(junit(rows)).find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    good, bad = suite.findall("testcase")
    assert good.get("classname") == "contract.tally"
    assert list(good) == []
    assert (bad.get("classname"), bad.get("name")) == ("scenario.tally.python", "One\ufffd")
    failure = bad.find("failure")
    assert failure is not None
    assert failure.text == "f.json: /a: <expected>"


def test_a_fault_is_shown_beside_its_line_at_github(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scenarios.json").write_text('{\n "scenarios": [\n  {"steps": [1]}]}')
    file = str(tmp_path / "scenarios.json")
    rows = [
        Row("scenario", "tally", "a: b, c", "python", "50 %\nof it", file, STEP),
        Row("contract", "tally", "tally@1"),
        Row("scenario", "", "", "elixir", "required, and no scenario ran in it"),
    ]
    assert workflow_commands(rows) == [
        "::error file=scenarios.json,line=3,title=tally%2C a%3A b%2C c%2C python::50 %25%0Aof it",
        "::error title=elixir::required, and no scenario ran in it",
    ]


def test_what_came_is_accepted_and_reported(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["new", "tally", "--runtimes", "python", "--into", str(tmp_path)]) == 0
    (tmp_path / "tally/tally.py").write_text(HANDLER)
    scenarios = tmp_path / "tally/scenarios.json"
    before = json.loads(scenarios.read_text())
    check = ["contracts", "check", "tally", "--contracts", str(tmp_path)]
    check += ["--implementations", str(tmp_path / "implementations.json"), "--json"]
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main([*check, "--junit", "out.xml", "--require", "python"]) == 1
    said = capsys.readouterr().err
    assert "::error file=tally/scenarios.json,line=" in said
    cases = ElementTree.parse("out.xml").getroot().iter("failure")
    assert len(list(cases)) == 2
    assert main([*check, "--accept"]) == 0
    after: dict[str, Any] = json.loads(scenarios.read_text())
    for scenario in before["scenarios"]:
        for step in scenario["steps"]:
            step["expect"] |= {"effects": []} if "effects" in step["expect"] else {}
    assert after == before
