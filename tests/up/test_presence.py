"""Who is there, with real workers and Redis: what clients see, and what a handler is told."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

from bridge.client import Client, NotReached, connected
from tests.deadline import until
from tests.running import ALONE, SUBSYSTEMS, Up, answered
from tests.up.test_nodes import workers_of

ROOM = {
    **ALONE,
    "BRIDGE_CONTRACTS": str(SUBSYSTEMS),
    "BRIDGE_IMPLEMENTATIONS": str(SUBSYSTEMS / "implementations.json"),
    "BRIDGE_PRESENCE_LEASE_MS": "1000",
}
TOPIC = "room:a"


def as_one(name: str) -> dict[str, Any]:
    return {"presence": {"id": name}}


async def told(client: Client, present: list[str]) -> None:
    """Wait until the handler has been told that these are there."""

    async def is_told() -> bool:
        reply = await answered(lambda: client.push(TOPIC, "who", {}))
        return bool(reply == {"present": present})

    await until(is_told, f"{present} are there")


def test_a_handler_is_told_who_is_there_and_nobody_stays(tmp_path: Path) -> None:
    async def main(up: Up) -> None:
        url = up.run["url"]
        async with connected(url) as watcher:
            await watcher.join(TOPIC)
            async with connected(url) as ann, connected(url) as bob:
                await ann.join(TOPIC, as_one("ann"))
                await bob.join(TOPIC, as_one("bob"))
                await told(watcher, ["ann", "bob"])
            await told(watcher, [])

    with Up(tmp_path / "b", **ROOM) as up:
        asyncio.run(main(up))


def test_all_workers_killed_who_comes_back_is_there_and_who_does_not_goes(tmp_path: Path) -> None:
    async def main(up: Up) -> None:
        url = up.run["url"]
        async with connected(url) as ann, connected(url) as bob:
            await ann.join(TOPIC, as_one("ann"))
            await bob.join(TOPIC, as_one("bob"))
            await told(ann, ["ann", "bob"])
            before = workers_of(up)
            for pid in before:
                os.kill(pid, signal.SIGKILL)

        async def serves() -> bool:
            try:
                async with connected(url):
                    return True
            except (NotReached, OSError):
                return False

        await until(serves, "there are workers again")
        async with connected(url) as ann:
            await ann.join(TOPIC, as_one("ann"))
            await told(ann, ["ann"])

    with Up(tmp_path / "b", **ROOM) as up:
        asyncio.run(main(up))
