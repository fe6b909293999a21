from __future__ import annotations

from pathlib import Path

from bridge.contracts import generate
from bridge.contracts.check import check_generated


def test_nothing_generated_has_drifted() -> None:
    assert [str(row) for row in check_generated() if not row.ok] == []


def test_drift_is_seen_and_writing_mends_it(tmp_path: Path) -> None:
    wanted = {tmp_path / "a" / "same": b"1", tmp_path / "changed": b"2", tmp_path / "new": b"3"}
    generate.write(wanted)
    (tmp_path / "changed").write_bytes(b"by hand")
    (tmp_path / "new").unlink()
    stale = [tmp_path / "changed", tmp_path / "new"]
    assert generate.drifted(wanted) == stale
    assert generate.write(wanted) == stale
    assert generate.drifted(wanted) == []
