"""The journal in Redis shows the behaviour of a journal, on a server of its own."""

from __future__ import annotations

from typing import Any

import redis

from bridge.journal.redis import RedisJournal
from bridge.journal.store import Journal
from tests.journal import suite
from tests.redis_server import RedisServer


class TestRedisJournal(suite.JournalSuite):
    server: RedisServer
    control: redis.Redis

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = RedisServer(appendfsync="everysec")
        cls.addClassCleanup(cls.server.close)
        cls.control = redis.Redis.from_url(cls.server.url)
        cls.addClassCleanup(cls.control.close)

    def setUp(self) -> None:
        self.control.flushall()

    async def open_journal(self, **options: Any) -> Journal:
        journal = RedisJournal(self.server.url, **options)
        self.addAsyncCleanup(journal.close)
        return journal

    async def pass_time(self, ms: int) -> None:
        start_s, start_us = self.control.time()
        end_us = start_s * 1_000_000 + start_us + ms * 1000
        while (now := self.control.time()) and now[0] * 1_000_000 + now[1] < end_us:
            pass
