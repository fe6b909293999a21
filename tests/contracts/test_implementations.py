from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bridge.contracts.files import BUILT_IN, ROOT
from bridge.contracts.implementations import load, load_all, python_handlers
from bridge.contracts.registry import Registry
from bridge.errors import ContractBroken
from bridge.subsystems import heartbeat


def written(folder: Path, document: Any) -> Path:
    file = folder / "implementations.json"
    file.write_text(json.dumps(document))
    return file


def test_the_built_in_ones_load_like_a_users() -> None:
    names = Registry.load(BUILT_IN).names()
    assert load_all() == {n: {"python": f"bridge.subsystems.{n}:handle"} for n in names}
    assert python_handlers(load_all())["heartbeat"] == heartbeat.handle


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "a.ts").touch()
    (tmp_path / "a.ex").touch()
    file = written(tmp_path, {"a": {"typescript": "./a/a.ts", "elixir": "a.ex"}})
    assert load(file) == {
        "a": {
            "typescript": str((tmp_path / "a" / "a.ts").resolve()),
            "elixir": str((tmp_path / "a.ex").resolve()),
        }
    }


def test_a_users_file_adds_to_the_built_in_ones_and_takes_their_place(tmp_path: Path) -> None:
    file = written(tmp_path, {"heartbeat": {"python": "mine:handle"}, "b": {"python": "b:f"}})
    mine = {"heartbeat": {"python": "mine:handle"}, "b": {"python": "b:f"}}
    assert load_all(file) == {**load_all(), **mine}


def test_a_python_module_is_found_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "beside_the_file.py").write_text("def handle(*message): return message\n")
    handlers = python_handlers({"a": {"python": "beside_the_file:handle"}}, tmp_path)
    assert handlers["a"].__module__ == "beside_the_file"


def test_the_counter_of_the_tests_loads() -> None:
    file = ROOT / "tests" / "subsystems" / "implementations.json"
    assert sorted(load(file)["counter"]) == ["elixir", "python", "typescript"]
    assert "counter" in python_handlers(load(file), file.parent)


@pytest.mark.parametrize(
    ("document", "pointer", "rule"),
    [
        ([], "", "type"),
        ({"A": {"python": "a:b"}}, "", "propertyNames"),
        ({"a": {}}, "/a", "minProperties"),
        ({"a": {"ruby": "a.rb"}}, "/a/ruby", "additionalProperties"),
        ({"a": {"python": "a.b"}}, "/a/python", "pattern"),
        ({"a": {"typescript": "a.py"}}, "/a/typescript", "pattern"),
        ({"a": {"elixir": "missing.ex"}}, "/a/elixir", "file"),
    ],
)
def test_a_file_that_is_not_sound_is_refused_with_pointer_and_rule(
    tmp_path: Path, document: Any, pointer: str, rule: str
) -> None:
    file = written(tmp_path, document)
    with pytest.raises(ContractBroken) as caught:
        load(file)
    assert (caught.value.file, caught.value.pointer, caught.value.rule) == (
        str(file),
        pointer,
        rule,
    )


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("no_such_module_here:handle", "ModuleNotFoundError"),
        ("bridge.subsystems.heartbeat:nothing", "has no function nothing"),
        ("bridge.message:RUNTIMES", "has no function RUNTIMES"),
    ],
)
def test_a_handler_that_cannot_be_had_is_named(where: str, message: str) -> None:
    with pytest.raises(ContractBroken, match=message) as caught:
        python_handlers({"a": {"python": where}})
    assert (caught.value.file, caught.value.pointer) == (where, "/a/python")
