"""Waiting that can be cut short."""

from __future__ import annotations

import asyncio

from bridge.pause import pause
from tests.deadline import DEADLINE_S


def test_it_ends_as_soon_as_the_event_is_set() -> None:
    async def test() -> None:
        event = asyncio.Event()
        asyncio.get_running_loop().call_soon(event.set)
        async with asyncio.timeout(DEADLINE_S):
            await pause(3600, event)

    asyncio.run(test())


def test_it_ends_after_its_time_though_nothing_is_set() -> None:
    async def test() -> None:
        event = asyncio.Event()
        await pause(0.001, event)
        assert not event.is_set()

    asyncio.run(test())
