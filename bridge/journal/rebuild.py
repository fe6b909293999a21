"""Rebuild every key's state from journal entries; runs no handler. No I/O here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bridge.message import JSON, Version


class JournalBroken(Exception):
    """Entries of a key that do not follow each other: one is missing, or in there twice."""

    def __init__(self, key: str, expected: int, actual: int) -> None:
        super().__init__(f"key {key!r}: expected entry {expected}, got {actual}")
        self.key = key
        self.expected = expected
        self.actual = actual


def rebuild(entries: Iterable[Mapping[str, JSON]]) -> dict[str, tuple[Version, JSON]]:
    """Return version and state of each key in the entries, which come oldest first.

    Each entry is a snapshot of its key, so the first one of a key may have any number: what was
    before it may have been trimmed. From there they must be gapless; raises JournalBroken.
    """
    states: dict[str, tuple[Version, JSON]] = {}
    for entry in entries:
        key, seq = entry["key"], entry["seq"]
        if key in states and seq != states[key][0].seq + 1:
            raise JournalBroken(key, states[key][0].seq + 1, seq)
        states[key] = Version(seq, entry["message_id"]), entry["state"]
    return states
