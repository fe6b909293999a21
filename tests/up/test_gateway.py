"""The gateway's address, served by the workers' edge or the node's, and moved under clients."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.client import NotReached, connected
from bridge.up.admin import fetch
from tests.deadline import until
from tests.edge.phoenix import needs_phoenix
from tests.edge.phoenix_js import Pushing, has_phoenix_js
from tests.running import SUBSYSTEMS, Up, bridge
from tests.up.test_nodes import workers_of

YOURS = {
    "BRIDGE_CONTRACTS": str(SUBSYSTEMS),
    "BRIDGE_IMPLEMENTATIONS": str(SUBSYSTEMS / "implementations.json"),
    "BRIDGE_TYPESCRIPT": "off",
}
PAUSE_MS = "20"


def port_of(up: Up) -> str:
    return str(up.run["url"]).rpartition(":")[2]


def node_of(up: Up) -> int:
    return next(pid for pid, text in up.children().items() if "BridgeWeb.main" in text)


async def route(up: Up, *to: str) -> str:
    done = await asyncio.to_thread(bridge, up.directory, "route", "gateway", *to)
    assert done.returncode == 0, done.stderr
    return done.stdout


def sockets(up: Up) -> int | None:
    """Return how many clients the workers' own edges have; None while nobody tells."""
    try:
        status: Any = fetch(f"{up.run['url']}/admin/status")
    except NotReached:
        return None
    return int(status["edge"]["sockets"])


async def on_workers(up: Up, count: int) -> None:
    async def are() -> bool:
        return await asyncio.to_thread(sockets, up) == count

    await until(are, f"{count} clients are on the workers")


@has_phoenix_js
@pytest.mark.parametrize("version", ["1.8", "1.7"])
def test_no_push_fails_while_the_gateway_moves_there_and_back(
    tmp_path: Path, version: str
) -> None:
    needs_phoenix()

    async def main(up: Up) -> None:
        client = await Pushing.start(port_of(up), version, PAUSE_MS)
        await on_workers(up, 1)
        said = await route(up, "elixir")
        assert said.startswith("new connections: 100 % elixir, 0 % python\n")
        status = await asyncio.to_thread(bridge, up.directory, "status")
        assert "100 % of new connections go to the node's edge" in status.stdout
        await client.joined(2)
        await on_workers(up, 0)
        await route(up, "python")
        await client.joined(3)
        await on_workers(up, 1)
        await client.kept(joins=3)

    with Up(tmp_path / "b", **YOURS) as up:
        asyncio.run(main(up))


def killed_node(up: Up) -> list[int]:
    return [node_of(up)]


def killed_worker(up: Up) -> list[int]:
    return [min(workers_of(up))]


@has_phoenix_js
@pytest.mark.parametrize("killed", [killed_node, killed_worker])
def test_either_edge_may_be_killed_while_it_moves(
    tmp_path: Path, killed: Callable[[Up], list[int]]
) -> None:
    needs_phoenix()

    async def main(up: Up) -> None:
        await route(up, "elixir", "--share", "50")
        moving = asyncio.create_task(route(up, "elixir"))
        for pid in killed(up):
            os.kill(pid, signal.SIGKILL)
        await asyncio.wait([moving])

        async def answers() -> bool:
            try:
                async with connected(up.run["url"]) as client:
                    await client.join("counter:a")
                    return bool(await client.push("counter:a", "total", {}))
            except Exception:
                return False

        await until(answers, "clients are served")

    with Up(tmp_path / "b", **YOURS) as up:
        asyncio.run(main(up))


def test_without_the_node_the_workers_serve_and_with_it_again_the_node_does(
    tmp_path: Path,
) -> None:
    needs_phoenix()

    async def main(up: Up) -> None:
        await route(up, "elixir")
        node = node_of(up)
        os.kill(node, signal.SIGKILL)
        async with connected(up.run["url"]) as client:  # at once: nobody waits for the node
            await client.join("counter:a")
            await on_workers(up, 1)

        async def again() -> bool:
            async with connected(up.run["url"]):
                return await asyncio.to_thread(sockets, up) == 0

        await until(again, "a new client is on the node")

    with Up(tmp_path / "b", **YOURS) as up:
        asyncio.run(main(up))


def test_what_is_not_the_nodes_own_is_answered_by_a_worker(tmp_path: Path) -> None:
    needs_phoenix()

    async def main(up: Up) -> None:
        await route(up, "elixir")
        status: Any = fetch(f"{up.run['url']}/admin/status")
        assert "counter" in [each["subsystem"] for each in status["routes"]]
        done = bridge(up.directory, "route", "counter", "elixir")
        assert done.returncode == 0, done.stderr

    with Up(tmp_path / "b", **YOURS) as up:
        asyncio.run(main(up))


def test_no_edge_no_move(tmp_path: Path) -> None:
    with Up(tmp_path / "b", BRIDGE_NODE="off", BRIDGE_TYPESCRIPT="off") as up:
        done = bridge(up.directory, "route", "gateway", "elixir")
        assert done.returncode == 1
        assert "the node has no Phoenix edge here" in done.stderr
        assert bridge(up.directory, "route", "gateway", "typescript").returncode == 1
