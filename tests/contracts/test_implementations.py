from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bridge.contracts.files import BUILT_IN, ROOT
from bridge.contracts.implementations import (
    load,
    load_all,
    main,
    python_handlers,
    with_contracts,
)
from bridge.contracts.registry import Registry
from bridge.errors import ContractBroken
from bridge.message import context_for
from bridge.subsystems import heartbeat

CONTEXT = context_for("m", 0, 1, "UTC", "key")


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


def test_a_python_file_may_be_called_what_it_likes_and_has_its_own_neighbours(
    tmp_path: Path,
) -> None:
    for name in ("queue", "to-do"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rules.py").write_text(f"NAME = {name!r}\n")
        text = "from .rules import NAME\ndef handle(*message): return NAME\n"
        (tmp_path / name / f"{name}.py").write_text(text)
    files = {n: {"python": f"./{n}/{n}.py"} for n in ("queue", "to-do")}
    file = written(tmp_path, files)
    assert load(file)["queue"] == {"python": str((tmp_path / "queue" / "queue.py").resolve())}
    handlers = python_handlers(load(file), tmp_path)
    answers: dict[str, Any] = {
        name: handler({}, "", {}, CONTEXT) for name, handler in handlers.items()
    }
    assert answers == {"queue": "queue", "to-do": "to-do"}


def test_implementations_of_what_has_no_contract_are_refused(tmp_path: Path) -> None:
    tally = {"tally": {"python": "tally:handle"}}
    file = written(tmp_path, tally)
    assert with_contracts(file, ["tally"]) == tally
    with pytest.raises(ContractBroken, match="expected one of tale") as caught:
        with_contracts(file, ["tale"])
    assert (caught.value.pointer, caught.value.rule) == ("/tally", "contract")


def test_what_cannot_be_had_is_left_out_and_named_and_nothing_else(tmp_path: Path) -> None:
    good = {"python": "json:loads"}
    documents = {
        "good": good,
        "fileless": {"python": "json:loads", "elixir": "./none.ex"},
        "crashing": {"python": "./crashing.py"},
        "exiting": {"python": "./exiting.py"},
        "unknown": good,
        "broken": good,
    }
    (tmp_path / "crashing.py").write_text("1 / 0\n")
    (tmp_path / "exiting.py").write_text("raise SystemExit(3)\n")
    file = written(tmp_path, documents)
    left_out = [
        ContractBroken(str(tmp_path / "broken" / "subsystem.json"), "", "json", "not JSON")
    ]
    names = ["good", "fileless", "crashing", "exiting"]
    found = with_contracts(file, names, left_out)
    handlers = python_handlers(found, tmp_path, left_out=left_out)
    assert sorted(handlers) == ["fileless", "good"]
    assert [(fault.pointer, fault.rule) for fault in left_out[1:]] == [
        ("/fileless/elixir", "file"),
        ("/unknown", "contract"),
        ("/crashing/python", "import"),
        ("/exiting/python", "import"),
    ]


def test_the_module_says_what_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tally.py"
    path.write_text("def handle(:")
    file = written(tmp_path, {"tally": {"python": "tally.py"}})
    monkeypatch.setattr("sys.argv", ["", str(file), str(tmp_path / "builds")])
    assert main() == 1
    said = "import: SyntaxError: invalid syntax (tally.py, line 1)"
    assert capsys.readouterr().err == f"{path}: /tally/python: {said}\n"


def test_the_counter_of_the_tests_loads() -> None:
    file = ROOT / "tests" / "subsystems" / "implementations.json"
    assert sorted(load(file)["counter"]) == ["elixir", "python", "typescript"]
    assert "counter" in python_handlers(load(file), file.parent)


@pytest.mark.parametrize(
    ("document", "pointer", "rule"),
    [
        ([], "", "type"),
        ({"a": {"python": "a:b"}, "A": {"python": "a:b"}}, "/A", "propertyNames"),
        ({"a": {}}, "/a", "minProperties"),
        ({"a": {"ruby": "a.rb"}}, "/a/ruby", "additionalProperties"),
        ({"a": {"python": "a.b"}}, "/a/python", "pattern"),
        ({"a": {"python": "missing.py"}}, "/a/python", "file"),
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
    ("text", "kind"),
    [
        ("async def handle(*message): ...", "async"),
        ("def handle(*message): yield", "a generator"),
        ("async def handle(*message): yield", "an async generator"),
    ],
)
def test_a_handler_whose_work_does_not_end_with_its_call_is_refused(
    tmp_path: Path, text: str, kind: str
) -> None:
    (tmp_path / "odd.py").write_text(text)
    told = rf"expected a plain function, handle is {kind}: a handler is `def handle\(state, "
    with pytest.raises(ContractBroken, match=told):
        python_handlers({"odd": {"python": str(tmp_path / "odd.py")}})


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("no_such_module_here:handle", "ModuleNotFoundError.*-m pip install"),
        ("bridge.subsystems.heartbeat:nothing", "has no function nothing"),
        ("bridge.message:RUNTIMES", "has no function RUNTIMES"),
    ],
)
def test_a_handler_that_cannot_be_had_is_named(where: str, message: str) -> None:
    with pytest.raises(ContractBroken, match=message) as caught:
        python_handlers({"a": {"python": where}})
    assert (caught.value.file, caught.value.pointer) == (where, "/a/python")
