"""Builds: which files an implementation is, and that it is imported as it was."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.contracts import builds
from bridge.contracts.builds import Build, one_file, python_sources
from bridge.contracts.implementations import python_handler
from bridge.errors import Refusal
from bridge.message import context_for

CONTEXT = context_for("m", 0, 1, "UTC", "key")


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Leave `sys` as it was found."""
    path, finders, modules = sys.path.copy(), sys.meta_path.copy(), set(sys.modules)
    yield
    sys.path[:], sys.meta_path[:] = path, finders
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def written(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def names(build: Build, folder: Path) -> list[str]:
    return sorted(str(Path(path).relative_to(folder)) for path in build.sources)


def asked(handler: Any) -> Any:
    return handler({}, "", {}, CONTEXT)


def test_a_build_is_the_file_and_what_it_imports_from_its_own_folder(tmp_path: Path) -> None:
    written(
        tmp_path,
        own__tally="from .rules import MORE\nfrom . import deep\nimport json, beside, other.sub",
        own__rules="from .deep.down import x\n",
        own__deep__init="",
        own__deep__down="def f():\n    from ..late import x\n",
        own__late="from ..above import y\nimport os\n",
        own__beside="",
        own__other__sub="",
        own__unused="",
        above="",
    )
    (tmp_path / "own" / "deep" / "init.py").rename(tmp_path / "own" / "deep" / "__init__.py")
    build = python_sources(str(tmp_path / "own" / "tally.py"), tmp_path)
    assert names(build, tmp_path / "own") == [
        "beside.py",
        "deep/__init__.py",
        "deep/down.py",
        "late.py",
        "other/sub.py",
        "rules.py",
        "tally.py",
    ]


def test_of_a_module_in_the_folder_of_the_file_too(tmp_path: Path) -> None:
    written(tmp_path, pkg__mine="from pkg.rules import x\nimport top\n", pkg__rules="", top="")
    build = python_sources("pkg.mine:handle", tmp_path)
    assert names(build, tmp_path) == ["pkg/mine.py", "pkg/rules.py", "top.py"]
    assert "pkg" not in sys.modules


def test_what_is_installed_is_one_file_and_the_bridge_never_part_of_a_build() -> None:
    root = builds.BRIDGE.parent
    build = python_sources("bridge.subsystems.triage:handle", root)
    assert names(build, root) == ["bridge/subsystems/triage.py"]


def test_a_file_that_cannot_be_read_as_python_is_a_build_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "odd.py"
    path.write_bytes(b"# \xff\x00 def handle(:")
    assert list(python_sources(str(path), tmp_path).sources) == [str(path)]


def test_the_digest_is_that_of_names_and_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.ex"
    path.write_text("text")
    whole = f"a.ex {hashlib.sha256(b'text').hexdigest()}"
    build = one_file(str(path))
    assert build.digest == hashlib.sha256(whole.encode()).hexdigest()[:12]
    assert build.changed() == []
    path.write_text("other")
    assert build.changed() == [str(path)]
    path.unlink()
    assert build.changed() == [str(path)]


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    written(tmp_path, a="x = 'é'\n")
    build = python_sources(str(tmp_path / "a.py"), tmp_path)
    builds.write(tmp_path / "kept", "python", "tally", build)
    assert builds.read(tmp_path / "kept", "python") == {"tally": build}
    assert builds.read_one(tmp_path / "kept", "python", "other") is None
    assert builds.read(tmp_path / "kept", "elixir") == {}


TALLY = """
from .rules import MORE

def handle(*message):
    from . import late
    return MORE, late.X
"""


def test_an_implementation_is_imported_as_it_was(tmp_path: Path) -> None:
    path = str(written(tmp_path, tally=TALLY, rules="MORE = 1\n", late="X = 'é'\n") / "tally.py")
    build = python_sources(path, tmp_path)
    for name in ("tally", "rules", "late"):
        (tmp_path / f"{name}.py").unlink()
    handler = python_handler("tally", path, build)
    assert asked(handler) == (1, "é")
    assert handler.__code__.co_filename == path


def test_a_module_is_imported_as_it_was_where_it_would_have_been_found(tmp_path: Path) -> None:
    text = "import json, rules_of_mine\ndef handle(*message): return rules_of_mine.MORE, json\n"
    written(tmp_path, mine_here=text, rules_of_mine="MORE = 1\n", json="no = 1\n")
    sys.path.append(str(tmp_path))
    build = python_sources("mine_here:handle", tmp_path)
    (tmp_path / "rules_of_mine.py").write_text("MORE = 2\n")
    more, json = asked(python_handler("mine_here", "mine_here:handle", build))
    assert more == 1
    assert json.dumps([]) == "[]"  # Python's own, although one lies beside the file


def test_another_build_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    path = str(written(tmp_path, tally=TALLY, rules="MORE = 1\n", late="X = 1\n") / "tally.py")
    before = python_handler("tally", path, python_sources(path, tmp_path))
    assert asked(before) == (1, 1)
    written(tmp_path, rules="MORE = 2\n", late="X = 2\n")
    after = python_handler("tally", path, python_sources(path, tmp_path))
    assert asked(after) == (2, 2)


def test_a_refusal_of_a_kept_handler_is_the_bridges_own(tmp_path: Path) -> None:
    text = "from bridge.errors import Refusal\ndef handle(*message): raise Refusal('no')\n"
    path = str(written(tmp_path, tally=text) / "tally.py")
    handler = python_handler("tally", path, python_sources(path, tmp_path))
    with pytest.raises(Refusal):
        asked(handler)


def test_no_compilation_is_left_beside_the_files(tmp_path: Path) -> None:
    path = str(written(tmp_path, tally=TALLY, rules="MORE = 1\n", late="X = 1\n") / "tally.py")
    asked(python_handler("tally", path, python_sources(path, tmp_path)))
    assert not list(tmp_path.rglob("*.pyc"))
