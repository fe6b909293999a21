"""Waiting that can be cut short."""

from __future__ import annotations

import asyncio
import contextlib


async def pause(seconds: float, until: asyncio.Event) -> None:
    """Wait so long, or less: until the event is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await until.wait()
