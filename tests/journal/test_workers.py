"""Workers tell of themselves under a lease: who vanished is told of no longer."""

from __future__ import annotations

import asyncio

from bridge.journal.redis import RedisJournal
from tests.deadline import until
from tests.redis_server import RedisServer

SHORT_MS = 100


def test_what_a_worker_tells_is_there_until_it_leaves_or_its_lease_ends() -> None:
    async def main(server: RedisServer) -> None:
        journal = RedisJournal(server.url)
        workers = journal.workers
        try:
            assert await workers.told() == {}
            assert await workers.tell("a", 60_000, b'{"n":1}')
            assert await workers.tell("b", 60_000, b"{}")
            assert await workers.tell("gone", SHORT_MS, b"{}")

            async def is_gone() -> bool:
                return "gone" not in await workers.told()

            await until(is_gone)
            assert await workers.tell("a", 60_000, b"")  # as before
            assert await workers.told() == {"a": b'{"n":1}', "b": b"{}"}
            assert not await workers.tell("gone", 60_000, b"")  # nothing to go on from
            await workers.leave("b")
            assert await workers.told() == {"a": b'{"n":1}'}
        finally:
            await journal.close()

    with RedisServer() as server:
        asyncio.run(main(server))
