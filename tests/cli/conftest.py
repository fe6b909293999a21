"""One bridge for all tests of the commands, and the commands in this process."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bridge.cli import main
from tests.running import ALONE, SUBSYSTEMS, Up


@dataclass(frozen=True)
class Result:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return the one value on standard output."""
        return json.loads(self.out)

    @property
    def rows(self) -> list[Any]:
        """Return one value per line of standard output."""
        return [json.loads(line) for line in self.out.splitlines()]


Cli = Callable[..., Result]


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Run a bridge with the counter, Python only."""
    folders = (
        "--contracts",
        str(SUBSYSTEMS),
        "--implementations",
        str(SUBSYSTEMS / "implementations.json"),
    )
    with Up(tmp_path_factory.mktemp("bridge"), *folders, **ALONE) as running:
        yield running


@pytest.fixture
def alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Cli:
    """Return a way to give commands where no bridge runs."""
    return commands(tmp_path, monkeypatch, capsys)


@pytest.fixture
def cli(up: Up, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Return a way to give commands to the running bridge."""
    return commands(up.directory, monkeypatch, capsys)


def commands(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Cli:
    for name in [name for name in os.environ if name.startswith("BRIDGE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("BRIDGE_DIR", str(directory))

    def run(*arguments: str, stdin: str = "") -> Result:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        try:
            code = main(arguments)
        except SystemExit as left:  # argparse
            code = int(left.code or 0)
        return Result(code, *capsys.readouterr())

    return run
