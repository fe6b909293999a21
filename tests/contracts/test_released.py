from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bridge.contracts.check import check_released
from bridge.contracts.files import BUILT_IN
from bridge.contracts.registry import Registry
from bridge.contracts.released import changed, release
from tests.contracts.broken import with_change, written


def registry(folder: Path, *, version: int = 1, summary: str = "s") -> Registry:
    document = with_change("/version", version)
    written(folder, {**document, "summary": summary})
    return Registry.load(folder)


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    file = tmp_path / "released.json"
    file.write_text("{}")
    return file


def pinned(lock: Path) -> Any:
    return json.loads(lock.read_text())


def test_no_released_version_of_ours_has_changed() -> None:
    assert {row.problem for row in check_released(Registry.load(BUILT_IN))} == {""}


def test_what_is_not_released_may_change(tmp_path: Path, lock: Path) -> None:
    assert changed(registry(tmp_path / "c"), lock) == {}


def test_a_release_pins_each_version_once(tmp_path: Path, lock: Path) -> None:
    first = registry(tmp_path / "c")
    assert release(first, lock) == ["sound@1"]
    assert release(first, lock) == []
    second = registry(tmp_path / "c", version=2, summary="other")
    assert release(second, lock) == ["sound@2"]
    assert pinned(lock) == {
        "sound": {"1": first.get("sound").digest, "2": second.get("sound").digest}
    }


def test_a_released_version_that_changed_is_named_and_cannot_be_pinned_again(
    tmp_path: Path, lock: Path
) -> None:
    release(registry(tmp_path / "c"), lock)
    before = pinned(lock)
    other = registry(tmp_path / "c", summary="other")
    assert changed(other, lock) == {
        "sound": "version 1 is released and has changed: make it version 2"
    }
    with pytest.raises(ValueError, match="sound: version 1 is released and has changed"):
        release(other, lock)
    assert pinned(lock) == before


def test_an_older_version_than_the_released_one_is_named(tmp_path: Path, lock: Path) -> None:
    release(registry(tmp_path / "c", version=3), lock)
    faults = changed(registry(tmp_path / "c", version=2), lock)
    assert faults == {"sound": "version 2 is older than the released 3"}


def test_a_released_contract_that_is_gone_is_named(tmp_path: Path, lock: Path) -> None:
    release(registry(tmp_path / "c", version=12), lock)
    faults = changed(Registry.load(BUILT_IN), lock)
    assert faults == {"sound": "released up to version 12, now gone"}
