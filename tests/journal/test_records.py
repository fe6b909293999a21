"""What earlier versions stored is still read."""

from __future__ import annotations

from bridge.journal.records import read_outbox


def test_an_effect_stored_before_its_runtime_was_kept_is_read_without() -> None:
    record = b'inngest {"committed_ms":7,"effect":{"effect":"inngest"},"id":"m/0","key":"k"}'
    entry = read_outbox("counter", "k", record)
    assert (entry.id, entry.kind, entry.committed_ms, entry.runtime) == ("m/0", "inngest", 7, "")
