"""Who is there, on the Python edge."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from tests.edge import presence_suite
from tests.edge.counter import CounterDispatcher, journal
from tests.edge.rig import Rig, rig

LEASE_MS = 1_000


class TestPresenceOfThePythonEdge(presence_suite.PresenceSuite):
    @contextlib.asynccontextmanager
    async def edges(self, count: int, **settings: Any) -> AsyncIterator[list[Rig]]:
        settings = {"presence_lease_ms": LEASE_MS, **settings}
        store = journal()
        dispatcher = CounterDispatcher(store)
        async with contextlib.AsyncExitStack() as stack:
            yield [
                await stack.enter_async_context(rig(store, dispatcher, **settings))
                for _ in range(count)
            ]

    async def stop(self, edge: Rig) -> None:
        await edge.edge.drain()

    async def die(self, edge: Rig) -> None:
        """End the edge without a word to Redis, as a killed process does."""
        edge.edge.presence.stop_renewing()
        for socket in list(edge.edge.sockets):
            socket.hang_up(1012, "killed")
