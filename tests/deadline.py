"""The one deadline of every wait in the tests; `TEST_DEADLINE_SCALE=4` for a slow machine."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

DEADLINE_S = 15 * float(os.environ.get("TEST_DEADLINE_SCALE", "1"))


async def eventually(condition: Callable[[], bool]) -> None:
    """Return when `condition` holds; for what tells nobody when it changes."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            if condition():
                return
            await asyncio.sleep(0.002)
