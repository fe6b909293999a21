"""The one deadline of every wait in the tests; `TEST_DEADLINE_SCALE=4` for a slow machine."""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from collections.abc import Callable

DEADLINE_S = 15 * float(os.environ.get("TEST_DEADLINE_SCALE", "1"))


async def until(condition: Callable[[], object], what: str = "it") -> None:
    """Return once `condition`, a function or a coroutine's, holds: for what tells nobody.

    Fails with `what` when the deadline has passed.
    """

    async def holds() -> object:
        found = condition()
        return await found if inspect.isawaitable(found) else found

    try:
        async with asyncio.timeout(DEADLINE_S):
            while not await holds():  # noqa: ASYNC110 - nobody sets an event
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"waited {DEADLINE_S:g} s in vain until {what}") from None


def held_up(seconds: float) -> None:
    """Stop this process, as a long computation would: nothing is read meanwhile."""
    time.sleep(seconds)
