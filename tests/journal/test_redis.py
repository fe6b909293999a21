"""The journal in Redis shows the behaviour of a journal, on each server that is found here."""

from __future__ import annotations

from typing import Any

import redis

from bridge.journal.redis import RedisJournal
from bridge.journal.store import Journal
from tests.journal import suite
from tests.redis_server import RedisServer, executables


class RedisJournalCase:
    binary: str
    server: RedisServer
    control: redis.Redis

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = RedisServer(appendfsync="everysec", binary=cls.binary)
        cls.control = redis.Redis.from_url(cls.server.url)

    @classmethod
    def tearDownClass(cls) -> None:
        cls.control.close()
        cls.server.close()

    def setUp(self) -> None:
        self.control.flushall()

    async def open_journal(self, **options: Any) -> Journal:
        journal = RedisJournal(self.server.url, **options)
        assert isinstance(self, suite.JournalSuite)
        self.addAsyncCleanup(journal.close)
        return journal

    async def pass_time(self, ms: int) -> None:
        start_ms = self.now_ms()
        while (left_ms := start_ms + ms + 1 - self.now_ms()) > 0:
            self.control.blpop(["nothing comes here"], timeout=left_ms / 1000)

    def now_ms(self) -> int:
        seconds, microseconds = self.control.time()
        return int(seconds) * 1000 + int(microseconds) // 1000


for version, binary in executables().items():
    name = f"TestRedis{version.replace('.', '_')}"
    globals()[name] = type(name, (RedisJournalCase, suite.JournalSuite), {"binary": binary})
