from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bridge.contracts.check import check_released
from bridge.contracts.files import BUILT_IN
from bridge.contracts.released import changed, release
from tests.contracts.broken import with_change, written


def contract(folder: Path, *, version: int = 1, summary: str = "s") -> Path:
    return written(folder, {**with_change("/version", version), "summary": summary})


def test_no_released_version_of_ours_has_changed() -> None:
    assert [row.problem for row in check_released([BUILT_IN]) if row.problem] == []


def test_what_is_not_released_may_change(tmp_path: Path) -> None:
    contract(tmp_path)
    assert changed([tmp_path]) == {}


def test_a_release_keeps_each_version_once(tmp_path: Path) -> None:
    first = contract(tmp_path)
    assert release(first) == "sound@1"
    assert release(first) is None
    one = first.read_bytes()
    assert release(contract(tmp_path, version=2, summary="other")) == "sound@2"
    copies = first.parent / "released"
    assert sorted(file.name for file in copies.iterdir()) == ["1.json", "2.json"]
    assert (copies / "1.json").read_bytes() == one
    assert changed([tmp_path]) == {"sound": ""}


def test_the_layout_of_a_released_file_may_change(tmp_path: Path) -> None:
    file = contract(tmp_path)
    release(file)
    file.write_text(json.dumps(json.loads(file.read_text()), indent=7))
    assert changed([tmp_path]) == {"sound": ""}


@pytest.mark.parametrize("own", [False, True])
def test_a_released_version_that_changed_is_named_and_not_kept_again(
    tmp_path: Path, own: bool
) -> None:
    file = contract(tmp_path)
    release(file)
    kept = (file.parent / "released" / "1.json").read_bytes()
    contract(tmp_path, summary="other")
    assert changed([file.parent if own else tmp_path]) == {
        "sound": "version 1 is released and has changed: make it version 2"
    }
    with pytest.raises(ValueError, match="sound: version 1 is released and has changed"):
        release(file)
    assert (file.parent / "released" / "1.json").read_bytes() == kept


def test_an_older_version_than_the_released_one_is_named(tmp_path: Path) -> None:
    release(contract(tmp_path, version=3))
    contract(tmp_path, version=2)
    assert changed([tmp_path]) == {"sound": "version 2 is older than the released 3"}


def test_a_released_contract_that_is_gone_is_named(tmp_path: Path) -> None:
    file = contract(tmp_path, version=12)
    release(file)
    file.unlink()
    assert changed([tmp_path]) == {"sound": "released up to version 12, now gone"}
    shutil.rmtree(file.parent)
    assert changed([tmp_path]) == {}
