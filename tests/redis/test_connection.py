"""The connection to Redis, by a process that was late itself."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from bridge.redis.address import Address
from bridge.redis.connection import Unanswered, connect
from tests.deadline import DEADLINE_S, held_up
from tests.redis_server import RedisServer


def test_a_worker_that_was_held_up_reads_its_answers_before_it_calls_redis_late() -> None:
    server = RedisServer()

    async def main() -> None:
        address = Address.parse(server.url)
        async with asyncio.timeout(DEADLINE_S):
            connection = await connect(address, timeout_s=0.2, max_pending=100)
            for _ in range(3):
                answers = [connection.send("PING") for _ in range(50)]
                await asyncio.sleep(0)  # they are on their way
                held_up(0.4)
                assert await asyncio.gather(*answers) == [b"PONG"] * 50
            assert not connection.closed
            connection.close()

    try:
        uvloop.run(main())
    finally:
        server.close()


def test_a_redis_that_does_not_answer_is_late() -> None:
    server = RedisServer()

    async def main() -> None:
        address = Address.parse(server.url)
        async with asyncio.timeout(DEADLINE_S):
            connection = await connect(address, timeout_s=0.1, max_pending=100)
            with pytest.raises(Unanswered, match="did not answer in time"):
                await connection.send("BLPOP", "nothing", 5)
            assert connection.closed

    try:
        uvloop.run(main())
    finally:
        server.close()
