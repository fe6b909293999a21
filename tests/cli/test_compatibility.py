"""`bridge contracts diff` and `bridge contracts release`."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.contracts.broken import SOUND, with_change, written
from tests.running import SUBSYSTEMS

NARROWER = with_change("/$defs/Set/properties/n/maximum", 9)
WIDER = with_change("/$defs/Set/properties/n/maximum", 200)


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def kept(folder: Path, text: str) -> None:
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", text)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    written(folder / "mine", SOUND)
    git(folder, "init", "-q")
    kept(folder, "first")
    return folder


def test_files_are_compared(alone: Cli, tmp_path: Path) -> None:
    old, new = written(tmp_path / "a", SOUND), written(tmp_path / "b", NARROWER)
    done = alone("contracts", "diff", str(old), str(new))
    assert done.code == 1
    assert re.search(
        r"sound +sound@1 +breaks clients that send +operation set, request +/n +maximum"
        r" +maximum 9, not 100\n",
        done.out,
    )
    assert alone("contracts", "diff", str(new), str(old)).code == 0


def test_two_contracts_of_one_name_are_not_taken_for_one(
    alone: Cli, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "mine/sound").rename(repository / "mine/kept")
    written(repository / "mine", NARROWER)
    kept(repository, "a copy, and a change")
    monkeypatch.chdir(repository)
    for asked in (
        ("mine", "mine"),
        ("HEAD:mine", "mine"),
        ("--against", "HEAD", "--contracts", "mine"),
    ):
        done = alone("contracts", "diff", *asked)
        assert done.code == 2
        assert "another contract there is called 'sound', too" in done.err


def test_the_rows_as_json_say_what_breaks_for_whom(alone: Cli, tmp_path: Path) -> None:
    written(tmp_path / "a", SOUND)
    written(tmp_path / "b", NARROWER)
    done = alone("contracts", "diff", str(tmp_path / "a"), str(tmp_path / "b"), "--json")
    assert done.rows[0] == {
        "since": "sound@1",
        "result": "breaks clients that send",
        "subsystem": "sound",
        "where": "operation set, request",
        "breaks": "clients that send",
        "pointer": "/n",
        "rule": "maximum",
        "message": "maximum 9, not 100",
        "breaking": True,
    }


def test_a_revision_of_git_is_compared_with_what_is_there(alone: Cli, repository: Path) -> None:
    mine = str(repository / "mine")
    assert alone("contracts", "diff", "--against", "HEAD", "--contracts", mine).code == 0
    written(repository / "mine", NARROWER)
    assert alone("contracts", "diff", "--against", "HEAD", "--contracts", mine).code == 1
    kept(repository, "second")
    assert alone("contracts", "diff", "--against", "HEAD", "--contracts", mine).code == 0
    assert alone("contracts", "diff", "--against", "HEAD~1", "--contracts", mine).code == 1


def test_two_revisions_are_compared(
    alone: Cli, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(repository / "mine", NARROWER)
    kept(repository, "second")
    monkeypatch.chdir(repository)
    assert alone("contracts", "diff", "HEAD~1:mine", "HEAD:mine").code == 1
    assert alone("contracts", "diff", "HEAD:mine/sound/subsystem.json", "HEAD~1:mine").code == 0


def test_every_released_version_counts(alone: Cli, repository: Path) -> None:
    mine = str(repository / "mine")
    assert alone("contracts", "release", "--contracts", mine).out == "released sound@1\n"
    kept(repository, "released")
    written(repository / "mine", {**WIDER, "version": 2})
    alone("contracts", "release", "--contracts", mine)
    kept(repository, "wider")
    written(repository / "mine", {**NARROWER, "version": 3})
    done = alone("contracts", "diff", "--against", "HEAD", "--contracts", mine, "--json")
    assert {row["since"] for row in done.rows if row["breaking"]} == {"sound@1", "sound@2"}


def test_a_released_version_that_changed_fails_the_check(alone: Cli, tmp_path: Path) -> None:
    written(tmp_path / "mine", SOUND)
    mine = ("--contracts", str(tmp_path / "mine"))
    assert alone("contracts", "release", *mine).code == 0
    written(tmp_path / "mine", WIDER)
    done = alone("contracts", "check", *mine, "--json")
    [row] = [row for row in done.rows if row["check"] == "released"]
    assert (done.code, row["result"]) == (
        1,
        "version 1 is released and has changed: make it version 2",
    )
    again = alone("contracts", "release", *mine)
    assert again.code == 1
    assert "version 1 is released and has changed" in again.err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "expected OLD and NEW, or --against REVISION"),
        (("nowhere", "nowhere"), "nowhere: expected a file, a folder, or REVISION:path"),
        (("a", "b", "--against", "HEAD"), "got both"),
        (("--against", "no-such-revision"), "no-such-revision: git has no such revision"),
    ],
)
def test_misuse_is_exit_code_2(alone: Cli, arguments: tuple[str, ...], why: str) -> None:
    done = alone("contracts", "diff", *arguments)
    assert done.code == 2
    assert why in done.err


def test_what_is_no_contract_is_exit_code_2(alone: Cli, tmp_path: Path) -> None:
    written(tmp_path / "a", with_change("/state", {"type": "sting"}))
    done = alone("contracts", "diff", str(tmp_path / "a"), str(tmp_path / "a"))
    assert done.code == 2
    assert "/state/type" in done.err


def test_the_topics_are_written_as_asyncapi(alone: Cli) -> None:
    done = alone("contracts", "asyncapi", "--contracts", str(SUBSYSTEMS))
    assert done.code == 0
    assert {"counter", "echo", "heartbeat"} <= set(done.json["channels"])
