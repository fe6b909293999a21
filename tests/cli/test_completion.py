"""`bridge completion`: what a shell offers after each command."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from bridge.cli.main import MODULES
from tests.cli.conftest import Cli

ASKED = """
source /dev/stdin
COMP_WORDS=("$@")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_bridge
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        (["do"], ["doctor"]),
        (["rout"], ["route", "routes"]),
        (["route", "tally", "t"], ["typescript"]),
        (["contracts", "ch"], ["check"]),
        (["contracts", "check", "--req"], ["--require"]),
        (["completion", ""], ["--help", "bash", "fish", "zsh"]),
        (["route", "contracts", "e"], ["elixir"]),
        (["nothing-of-this"], [""]),
    ],
)
def test_bash_offers_what_may_come_next(alone: Cli, line: list[str], offered: list[str]) -> None:
    done = subprocess.run(
        ["bash", "--norc", "-c", ASKED, "bash", "bridge", *line],
        input=alone("completion", "bash").out,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_command_is_known_and_the_shell_can_read_it(alone: Cli, shell: str) -> None:
    script = alone("completion", shell).out
    for commands in MODULES.values():
        for command in commands:
            assert f"' {command}'" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_another_shell_is_told_which_there_are(alone: Cli) -> None:
    done = alone("completion", "tcsh")
    assert done.code == 2
    assert "fish" in done.err
