"""The node's web part, the Phoenix edge: compiled where it can be, on a port of its own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from bridge.settings import PREFIX, Settings
from bridge.up import programs
from bridge.up.address import listen
from bridge.up.programs import Command, Missing

PHOENIX_PORT = PREFIX + "PHOENIX_PORT"
LISTEN_FD = PREFIX + "LISTEN_FD"  # of the gateway's socket, in the node


async def node_with_web(env: Mapping[str, str], log: Path) -> Command | Missing:
    """Return how to start the node with its web part, compiled; or why that cannot be."""
    path = programs.search_path()
    missing = await asyncio.to_thread(programs.web, path)
    command = missing or programs.elixir(path, web=True)
    if isinstance(command, Missing):
        return command
    return await programs.compiled(command, env, log) or command


def port_for_web(settings: Settings) -> int:
    """Return the port to listen on: as set, else a free one. Raises StartFailed."""
    asked = PHOENIX_PORT in os.environ
    with listen(settings.host, settings.phoenix_port, asked=asked, setting=PHOENIX_PORT) as found:
        port: int = found.getsockname()[1]
        return port
