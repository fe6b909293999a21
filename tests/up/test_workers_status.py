"""Any worker speaks for all of them."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from bridge.client import connected
from bridge.up.admin import fetch
from tests.deadline import until
from tests.running import ALONE, Up

CLIENTS = 6


def test_any_worker_speaks_for_all_and_of_one_that_vanished_no_longer(tmp_path: Path) -> None:
    async def main(up: Up) -> None:
        async def told() -> Any:
            return await asyncio.to_thread(fetch, f"{up.run['url']}/admin/status")

        async def names() -> set[str]:
            return {worker["worker"] for worker in (await told())["workers"]}

        async def both() -> bool:
            return len(await names()) == 2

        async def all_counted() -> bool:
            edge = (await told())["edge"]
            return bool(edge["sockets"] == edge["topics"] == CLIENTS)

        await until(both)
        async with AsyncExitStack() as stack:
            for n in range(CLIENTS):
                client = await stack.enter_async_context(connected(up.run["url"]))
                await client.join(f"heartbeat:{n}")
            for _ in range(4):  # whichever answers
                await until(all_counted)
        dead = (await told())["workers"][0]
        os.kill(dead["pid"], signal.SIGKILL)

        async def replaced() -> bool:
            return dead["worker"] not in await names() and await both()

        await until(replaced)

    with Up(tmp_path, **ALONE, BRIDGE_WORKERS="2") as up:
        asyncio.run(main(up))
