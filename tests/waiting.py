"""Wait for other processes, until the one deadline."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from tests.deadline import DEADLINE_S


async def until(condition: Callable[[], object], what: str = "it") -> None:
    """Return once `condition` holds; fail with `what` when the deadline has passed."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():  # noqa: ASYNC110 - other processes set no event of ours
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"waited {DEADLINE_S:g} s in vain until {what}") from None


def lives(pid: int) -> bool:
    """Say whether a process runs; a zombie does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return os.path.isdir("/proc/self") is False  # no /proc on macOS: kill's word stands
