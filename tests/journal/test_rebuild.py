"""Entries rebuild states without any handler."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.journal.rebuild import JournalBroken, rebuild
from bridge.message import Version


def entry(key: str, seq: int, state: Any) -> dict[str, Any]:
    return {"key": key, "seq": seq, "message_id": f"m{seq}", "state": state}


def test_no_entries_rebuild_no_states() -> None:
    assert rebuild([]) == {}


def test_the_last_entry_of_each_key_is_its_state() -> None:
    entries = [entry("a", 1, {}), entry("b", 1, []), entry("a", 2, {"n": 2})]
    assert rebuild(entries) == {"a": (Version(2, "m2"), {"n": 2}), "b": (Version(1, "m1"), [])}


def test_a_trimmed_journal_rebuilds_from_the_first_entry_that_is_left() -> None:
    assert rebuild([entry("a", 7, 7), entry("a", 8, 8)]) == {"a": (Version(8, "m8"), 8)}


@pytest.mark.parametrize("seq", [1, 3])
def test_an_entry_that_is_missing_or_twice_is_found(seq: int) -> None:
    with pytest.raises(JournalBroken, match=f"expected entry 2, got {seq}"):
        rebuild([entry("a", 1, {}), entry("a", seq, {})])
