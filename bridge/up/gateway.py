"""Which edge takes the connections at the gateway's address: the workers', or the node's.

All of them have the listening socket; who is told to accepts. The wish is kept in the directory.
Whenever there is no node that could, the workers accept.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from bridge.up.listener import Listener, RequestFailed

FILE = "gateway.json"
PERIOD_S = 1.0  # in which each edge accepts for its share of the time


def share_of(directory: Path) -> int:
    """Return the part of new connections that the node's edge is to take, in percent."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return int(json.loads((directory / FILE).read_text())["share"])
    return 0


class Gateway:
    """Keep the share of connections that the node's edge takes, in percent."""

    def __init__(self, directory: Path, listener: Listener) -> None:
        self._file = directory / FILE
        self._listener = listener
        self._share = share_of(directory)
        self._turn = self._share == 100  # whether it is the node's, where both have one
        self._changed = asyncio.Event()

    def told(self) -> None:
        """Look who is there now: somebody came, became ready or left."""
        node = self._turn and any(node.ready for node in self._listener.nodes)
        # Who accepts is told first: never does nobody.
        if node:
            self._tell_nodes(True)
        for worker in self._listener.workers:
            worker.accept(not node)
        if not node:
            self._tell_nodes(False)

    def _tell_nodes(self, accepts: bool) -> None:
        for node in self._listener.nodes:
            if node.ready:
                node.accept(accepts)

    async def run(self) -> None:
        """Give each edge its share of the time, until cancelled."""
        while True:
            self._changed.clear()
            for turn, share in ((True, self._share), (False, 100 - self._share)):
                if share:
                    self._turn = turn
                    self.told()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(PERIOD_S * share / 100):
                            await self._changed.wait()

    async def route(self, asked: str) -> AsyncIterator[str]:
        """Give the gateway to a runtime, `elixir`, or a share of it, `elixir 25`."""
        runtime, _, share = asked.partition(" ")
        there = any(node.ready for node in self._listener.nodes)
        if runtime not in ("python", "elixir"):
            raise RequestFailed(f"{runtime} has no edge: expected python or elixir")
        if runtime == "elixir" and not there:
            raise RequestFailed("the node has no Phoenix edge here: `bridge doctor` says why")
        part = int(share or 100)
        self._share = part if runtime == "elixir" else 100 - part
        self._file.write_text(json.dumps({"share": self._share}))
        self._changed.set()
        yield f"new connections: {self._share} % elixir, {100 - self._share} % python"
        if part == 100:
            await asyncio.sleep(0)  # `run` tells who accepts now
            self._turn = self._share == 100
            self.told()
            old = self._listener.workers if runtime == "elixir" else self._listener.nodes
            for peer in old:
                peer.send_on()
            yield f"{len(old)} other edges send their clients on"
