"""The Phoenix edge under `bridge up`: real workers, killed while a real client works."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from bridge.up import programs
from tests.deadline import until
from tests.edge.phoenix import needs_phoenix
from tests.edge.phoenix_js import Pushing, has_phoenix_js
from tests.running import SUBSYSTEMS, Up, bridge
from tests.up.test_nodes import workers_of

# Between two pushes: what was kept back meanwhile comes at once, and is bounded per socket.
PAUSE_MS = "20"
YOURS = {
    "BRIDGE_CONTRACTS": str(SUBSYSTEMS),
    "BRIDGE_IMPLEMENTATIONS": str(SUBSYSTEMS / "implementations.json"),
    "BRIDGE_TYPESCRIPT": "off",
}


@has_phoenix_js
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_client_sees_that_workers_end(tmp_path: Path, number: signal.Signals) -> None:
    needs_phoenix()

    async def main(up: Up) -> None:
        port = up.run["phoenix_url"].rpartition(":")[2]
        client = await Pushing.start(port, "1.8", PAUSE_MS)
        for _ in range(3):
            before = workers_of(up)
            os.kill(min(before), number)

            async def healthy(before: set[int] = before) -> bool:
                there = workers_of(up)
                return len(there) == len(before) and there != before

            await until(healthy, "another worker is there")
            await asyncio.sleep(0.5)
        await client.kept(joins=1)

    with Up(tmp_path / "b", **YOURS) as up:
        asyncio.run(main(up))


def test_up_doctor_and_status_say_where_it_serves(tmp_path: Path) -> None:
    needs_phoenix()
    with Up(tmp_path / "b", BRIDGE_TYPESCRIPT="off") as up:
        url = up.run["phoenix_url"]
        assert f"phoenix {url} (WebSocket: /socket/websocket)" in up.output
        assert f"answers at {url}" in bridge(up.directory, "doctor").stdout
        assert f"serves {url}" in bridge(up.directory, "status").stdout


def test_where_it_cannot_be_up_and_doctor_say_so_in_one_line(tmp_path: Path) -> None:
    if isinstance(programs.elixir(programs.search_path()), programs.Missing):
        pytest.skip("needs Elixir")
    nowhere = {"MIX_DEPS_PATH": str(tmp_path), "BRIDGE_TYPESCRIPT": "off"}
    with Up(tmp_path / "b", **nowhere) as up:
        [said] = [line for line in up.output.splitlines() if line.startswith("phoenix")]
        assert "too old for Phoenix" in said or "BRIDGE_WEB=1 mix deps.get" in said
        [found] = [
            line
            for line in bridge(up.directory, "doctor", **nowhere).stdout.splitlines()
            if line.startswith("phoenix")
        ]
        assert "warn" in found
        assert up.run["phoenix_url"] == ""


@has_phoenix_js
def test_no_push_fails_while_the_node_is_replaced(tmp_path: Path) -> None:
    needs_phoenix()

    async def main(up: Up) -> None:
        port = up.run["phoenix_url"].rpartition(":")[2]
        client = await Pushing.start(port, "1.8", PAUSE_MS)
        [before] = [pid for pid, text in up.children().items() if "BridgeWeb.main" in text]
        os.kill(before, signal.SIGTERM)

        def replaced() -> bool:
            nodes = [pid for pid, text in up.children().items() if "BridgeWeb.main" in text]
            return nodes not in ([], [before])

        await until(replaced, "another node is there")
        await asyncio.sleep(3)
        await client.kept(joins=2)

    with Up(tmp_path / "b", **YOURS) as up:
        asyncio.run(main(up))
