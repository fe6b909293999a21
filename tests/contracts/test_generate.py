from __future__ import annotations

from pathlib import Path

from bridge.contracts import generate
from bridge.contracts.check import check_generated
from bridge.contracts.files import BUILT_IN
from bridge.contracts.registry import Registry
from bridge.link.term_reader import decode


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


def test_the_elixir_module_has_the_digests_of_the_registry() -> None:
    [(path, text)] = generate.elixir_module().items()
    assert path.name == "contracts.ex"
    for digest in Registry.load(BUILT_IN).digests().values():
        assert f'digest: "{digest}"' in text.decode()


def test_the_vectors_hold_steps_with_nothing_left_to_work_out() -> None:
    made = {path.name: data for path, data in generate.vectors().items()}
    names = Registry.load(BUILT_IN).names()
    assert sorted(made) == sorted(f"{n}.etf" for n in ("determinism", "vectors", *names))
    heartbeat = decode(made["heartbeat.etf"])
    first, second, *_ = heartbeat["scenarios"][0]["steps"]
    assert first["request"] == {"every_ms": 900000, "min_gap_ms": 600000, "profile": "early"}
    assert first["state"] == Registry.load(BUILT_IN).get("heartbeat").initial_state
    assert second["state"] == first["expect"]["state"]
    assert second["context"]["key"] == heartbeat["scenarios"][0]["key"]
    assert "derived_id" in decode(made["determinism.etf"])
