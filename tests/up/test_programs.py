"""What can be started here, found on paths of our own making."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bridge.up.programs import Command, Missing, elixir, typescript


def program(folder: Path, name: str, says: str = "") -> str:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a checkout in which everything was built."""
    service = tmp_path / "contracts" / "typescript"
    for file in ("package.json", "src/main.ts", "dist/main.js", "node_modules/x"):
        (service / file).parent.mkdir(parents=True, exist_ok=True)
        (service / file).touch()
    node = tmp_path / "elixir_node"
    (node / "_build/prod/lib/bridge/ebin").mkdir(parents=True)
    (node / "_build/prod/lib/bridge/ebin/bridge.app").touch()
    (node / "mix.exs").touch()
    return tmp_path


def test_node_runs_what_was_built(root: Path, tmp_path: Path) -> None:
    node = program(tmp_path / "bin", "node", "v20.1.0")
    found = typescript(str(tmp_path / "bin"), root)
    assert found == Command((node, "dist/main.js"), root / "contracts" / "typescript")


def test_bun_runs_the_sources_when_there_is_no_node(root: Path, tmp_path: Path) -> None:
    bun = program(tmp_path / "bin", "bun")
    found = typescript(str(tmp_path / "bin"), root)
    assert found == Command((bun, "src/main.ts"), root / "contracts" / "typescript")


def test_bun_runs_what_was_built_where_a_package_has_no_sources(
    root: Path, tmp_path: Path
) -> None:
    bun = program(tmp_path / "bin", "bun")
    folder = root / "contracts" / "typescript"
    (folder / "src/main.ts").unlink()
    (folder / "src").rmdir()
    assert typescript(str(tmp_path / "bin"), root) == Command((bun, "dist/main.js"), folder)


@pytest.mark.parametrize(
    ("version", "start"), [(None, "no Node and no Bun: "), ("v18.20.4", "Node 18 is too old: ")]
)
def test_without_a_node_new_enough_the_way_to_get_one_is_told(
    root: Path, tmp_path: Path, version: str | None, start: str
) -> None:
    if version:
        program(tmp_path / "bin", "node", version)
    found = typescript(str(tmp_path / "bin"), root)
    assert isinstance(found, Missing)
    assert found.reason.startswith(start)
    assert "`apt-get install nodejs npm` or `brew install node`" in found.reason


def test_what_was_not_built_is_told(root: Path, tmp_path: Path) -> None:
    program(tmp_path / "bin", "node", "v20.1.0")
    (root / "contracts/typescript/dist/main.js").unlink()
    found = typescript(str(tmp_path / "bin"), root)
    assert isinstance(found, Missing)
    assert found.reason.startswith("not built as it is now: ")


def test_a_build_older_than_its_sources_is_not_run(root: Path, tmp_path: Path) -> None:
    program(tmp_path / "bin", "node", "v20.1.0")
    service = root / "contracts/typescript"
    os.utime(service / "dist/main.js", (1, 1))
    found = typescript(str(tmp_path / "bin"), root)
    assert isinstance(found, Missing)
    assert found.reason.startswith("not built as it is now: ")


def test_elixir_is_compiled_before_every_start(root: Path, tmp_path: Path) -> None:
    binary = program(tmp_path / "bin", "elixir")
    mix = program(tmp_path / "bin", "mix")
    found = elixir(str(tmp_path / "bin"), root)
    assert isinstance(found, Command)
    assert (found.argv[0], found.compile) == (binary, (mix, "compile"))


def test_without_elixir_the_way_to_get_it_is_told(root: Path, tmp_path: Path) -> None:
    found = elixir(str(tmp_path / "bin"), root)
    assert found == Missing("no Elixir: `apt-get install elixir` or `brew install elixir`")
