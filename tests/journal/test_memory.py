"""The journal in memory shows the behaviour of a journal."""

from __future__ import annotations

from typing import Any

from bridge.journal.memory import MemoryJournal
from bridge.journal.store import Journal
from tests.journal import suite


class TestMemoryJournal(suite.JournalSuite):
    now_ms = 1_700_000_000_000

    async def open_journal(self, **options: Any) -> Journal:
        journal = MemoryJournal(lambda: self.now_ms, **options)
        await journal.ensure_route("counter", "python", None)
        return journal

    async def pass_time(self, ms: int) -> None:
        self.now_ms += ms
