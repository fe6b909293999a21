"""What is recorded is read back, byte for byte."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.observe.daemon import look
from bridge.observe.fate import Pushed, Returned, Settled, Switched
from bridge.observe.recording import BadRecording, Recording, item_of, lines

HEAD = {"recording": 1, "at_ms": 1}
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
ITEMS = st.binary() | JSON_VALUES.map(lambda value: json.dumps({"v": value}).encode())


@given(item=ITEMS)
def test_an_item_comes_back_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory, item: bytes
) -> None:
    path = tmp_path_factory.mktemp("recording") / "r.ndjson"
    recording = Recording(path)
    recording.line(HEAD)
    recording.record(Pushed(1, 2, "gateway", item, look(item), "", found=False))
    recording.close()
    head, line = lines(path)
    assert head == HEAD
    assert item_of(line) == item


def test_the_lines_are_as_the_module_says(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "new" / "r.ndjson")
    recording.line(HEAD)
    good = b'{"id":"a","type":"t"}'
    for item in (good, b'{"id": "a"}', b"\xff"):
        recording.record(
            Pushed(1, 2, "main", item, look(item), "bad" * (item != good), found=False)
        )
    recording.record(Pushed(2, 3, "main", good, look(good), "", found=True))
    recording.record(Settled(2, 4, "gateway", "a", "t", "lost", "window", "why"))
    recording.record(Settled(1, 4, "gateway", "a", "t", "prompt"))
    recording.record(Returned(2, 5, "t"))
    recording.record(Switched(6, "sleep"))
    recording.close()
    assert list(lines(recording.path))[1:] == [
        {"n": 1, "at_ms": 2, "session": "main", "event": {"id": "a", "type": "t"}},
        {"n": 1, "at_ms": 2, "session": "main", "raw": '{"id": "a"}', "fault": "bad"},
        {"n": 1, "at_ms": 2, "session": "main", "base64": "/w==", "fault": "bad"},
        {"n": 2, "at_ms": 3, "session": "main", "event": {"id": "a", "type": "t"}, "found": True},
        {"n": 2, "at_ms": 4, "fate": "lost", "cause": "window", "why": "why"},
        {"n": 1, "at_ms": 4, "fate": "prompt"},
        {"n": 2, "at_ms": 5, "fate": "returned"},
        {"at_ms": 6, "mode": "sleep"},
    ]


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "r.ndjson")
    recording.close()
    assert stat.S_IMODE(recording.path.stat().st_mode) == 0o600


def test_a_file_that_is_there_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "r.ndjson").write_text("mine")
    with pytest.raises(FileExistsError):
        Recording(tmp_path / "r.ndjson")
    assert (tmp_path / "r.ndjson").read_text() == "mine"


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "r.ndjson"
    path.write_text('{"recording":1}\n{"n":1}\n{"n":')
    assert list(lines(path)) == [{"recording": 1}, {"n": 1}]


@pytest.mark.parametrize("text", ["", "hello", '{"n":1}\n', '{"recording":2}\n', "[1]\n"])
def test_another_file_is_no_recording(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.ndjson"
    path.write_text(text)
    with pytest.raises(BadRecording, match="its first line has no"):
        list(lines(path))


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.ndjson"
    path.write_text('{"recording":1}\nhello\n{"n":1}\n')
    with pytest.raises(BadRecording, match=r"r\.ndjson:2: expected a JSON object"):
        list(lines(path))
