"""A node that dies, stops or hangs under `bridge up`: its workers and their clients stay."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bridge.client import Client, ErrorReply, connected
from bridge.up import programs
from bridge.up.programs import Command
from tests.deadline import until
from tests.running import ALONE, Up, bridge, lives, processes_of

pytestmark = pytest.mark.skipif(
    not isinstance(programs.elixir(programs.search_path()), Command),
    reason="there is no Elixir on this machine",
)
TOPIC = "heartbeat:main"


def workers_of(up: Up) -> set[int]:
    return {pid for pid, text in up.children().items() if "-m bridge.gateway" in text}


def node_of(up: Up) -> int | None:
    return next((pid for pid, text in up.children().items() if "beam.smp" in text), None)


async def node_answers(client: Client) -> bool:
    """Say whether the query is answered in Elixir: asked by name, no other stands in."""
    try:
        return bool(await client.push(TOPIC, "status", {"runtime": "elixir"}))
    except ErrorReply as error:
        if error.response["code"] != "runtime_unavailable":
            raise
        return False


async def serving(up: Up, count: int = 2) -> set[int]:
    """Return the workers, once so many serve."""
    log = up.directory / "logs" / "worker.log"
    await until(lambda: log.read_text().count(" serving worker=") >= count, "they serve")
    return workers_of(up)


async def another(up: Up, node: int) -> int:
    """Return the node that runs in the place of one."""
    await until(lambda: node_of(up) not in (None, node), "another one runs")
    found = node_of(up)
    assert found is not None
    return found


@asynccontextmanager
async def client_of(up: Up) -> AsyncIterator[Client]:
    """Keep one socket and push over it without a pause; every push must be answered."""
    async with connected(up.run["url"]) as client:
        await client.join(TOPIC)
        leaving = asyncio.Event()

        async def push() -> int:
            count = 0
            while not leaving.is_set():
                await client.push(TOPIC, "status", {})
                count += 1
            return count

        pushing = asyncio.create_task(push())
        yield client
        leaving.set()
        assert await pushing > 0
        assert client.events.empty()  # neither phx_error nor the end of the socket


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_node_that_ends_leaves_its_workers_and_their_clients_to_the_next(
    tmp_path: Path, number: signal.Signals
) -> None:
    async def scenario(up: Up) -> None:
        before = await serving(up)
        async with client_of(up) as client:
            for _ in range(2):
                node = node_of(up)
                assert node is not None
                os.kill(node, number)
                await another(up, node)
                await until(lambda: node_answers(client), "it answers")
        assert workers_of(up) == before

    with Up(tmp_path, BRIDGE_TYPESCRIPT="off") as up:
        asyncio.run(scenario(up))
        assert up.end() == 0
        assert "killed, as" not in up.output
        assert processes_of(tmp_path) == {}


def test_a_node_that_is_killed_over_and_over_leaves_no_more_workers_behind(
    tmp_path: Path,
) -> None:
    async def scenario(up: Up) -> None:
        before, killed = await serving(up), list[int]()
        async with client_of(up):
            for _ in range(6):
                await until(lambda: node_of(up) is not None, "it runs")
                node = node_of(up)
                assert node is not None
                await asyncio.sleep(0.5)  # into the middle of its start, wherever that is
                assert workers_of(up) == before
                os.kill(node, signal.SIGKILL)
                killed.append(node)
                await until(lambda: not any(lives(pid) for pid in killed), "it is dead")
        assert workers_of(up) == before

    with Up(tmp_path, BRIDGE_TYPESCRIPT="off") as up:
        asyncio.run(scenario(up))


def test_a_worker_whose_node_dies_before_it_serves_leaves(tmp_path: Path) -> None:
    async def scenario(up: Up) -> None:
        before = await serving(up)
        node = node_of(up)
        assert node is not None
        for worker in before:
            os.kill(worker, signal.SIGKILL)
        await until(lambda: workers_of(up) - before, "another one starts")
        starting = workers_of(up) - before
        os.kill(node, signal.SIGKILL)
        log = up.directory / "logs" / "worker.log"
        await until(lambda: not any(lives(pid) for pid in starting), "it left")
        assert " text=the node is gone" in log.read_text()
        await until(lambda: len(workers_of(up)) == 2, "others run")
        assert bridge(tmp_path, "call", TOPIC, "status").returncode == 0

    with Up(tmp_path, BRIDGE_TYPESCRIPT="off") as up:
        asyncio.run(scenario(up))


def test_a_node_that_hangs_is_replaced_and_never_comes_back(tmp_path: Path) -> None:
    async def scenario(up: Up) -> None:
        node = node_of(up)
        assert node is not None
        async with client_of(up) as client:
            os.kill(node, signal.SIGSTOP)
            await another(up, node)
            assert not lives(node)
            await until(lambda: node_answers(client), "it answers")
        await until(lambda: "node said nothing for 3 s, started again" in up.output)

    with Up(tmp_path, BRIDGE_TYPESCRIPT="off", BRIDGE_SILENT_MS="3000") as up:
        asyncio.run(scenario(up))


def test_a_node_that_hangs_in_its_start_is_replaced(tmp_path: Path) -> None:
    async def scenario(up: Up) -> None:
        node = node_of(up)
        assert node is not None
        os.kill(node, signal.SIGKILL)
        hanging = await another(up, node)
        os.kill(hanging, signal.SIGSTOP)
        await another(up, hanging)
        async with client_of(up) as client:
            await until(lambda: node_answers(client), "it answers")

    with Up(tmp_path, BRIDGE_TYPESCRIPT="off", BRIDGE_SILENT_MS="3000") as up:
        asyncio.run(scenario(up))


@pytest.mark.parametrize("stops", ["its node is there", "its node is gone"])
def test_a_worker_that_hangs_is_replaced(tmp_path: Path, stops: str) -> None:
    async def scenario(up: Up) -> None:
        before = await serving(up)
        worker = min(before)
        os.kill(worker, signal.SIGSTOP)
        if stops == "its node is gone":
            node = node_of(up)
            assert node is not None
            os.kill(node, signal.SIGKILL)
        await until(lambda: not lives(worker), "it was killed")
        await until(lambda: len(workers_of(up)) == 2, "another one runs")

    with Up(tmp_path, BRIDGE_TYPESCRIPT="off", BRIDGE_SILENT_MS="3000") as up:
        asyncio.run(scenario(up))


def test_a_worker_without_a_node_that_hangs_is_replaced(tmp_path: Path) -> None:
    async def scenario(up: Up) -> None:
        (worker,) = workers_of(up)
        os.kill(worker, signal.SIGSTOP)
        await until(lambda: not lives(worker), "it was killed")
        await until(lambda: len(workers_of(up)) == 1, "another one runs")
        await until(lambda: "worker-1 said nothing for 3 s, started again" in up.output)

    with Up(tmp_path, **ALONE, BRIDGE_WORKERS="1", BRIDGE_SILENT_MS="3000") as up:
        asyncio.run(scenario(up))


def test_a_typescript_service_that_hangs_is_replaced(tmp_path: Path) -> None:
    if not isinstance(programs.typescript(programs.search_path()), Command):
        pytest.skip("there is no TypeScript service on this machine")

    def service(up: Up) -> int:
        return next((pid for pid, text in up.children().items() if "main." in text), 0)

    async def scenario(up: Up) -> None:
        hanging = service(up)
        os.kill(hanging, signal.SIGSTOP)
        await until(lambda: service(up) not in (0, hanging), "another one runs")
        assert not lives(hanging)
        asked = ("call", TOPIC, "status", '{"runtime": "typescript"}')
        await until(lambda: bridge(tmp_path, *asked).returncode == 0, "it answers")

    with Up(tmp_path, BRIDGE_NODE="off", BRIDGE_WORKERS="1", BRIDGE_SILENT_MS="3000") as up:
        asyncio.run(scenario(up))


def test_the_socket_of_an_orphan_that_was_killed_is_removed(tmp_path: Path) -> None:
    async def scenario(up: Up) -> None:
        sockets = Path(up.run["link_dir"])
        before = await serving(up)
        node = node_of(up)
        assert node is not None
        os.kill(node, signal.SIGKILL)
        await until(lambda: len(list(sockets.glob("*.sock"))) == 2, "both are orphans")
        for worker in before:
            os.kill(worker, signal.SIGKILL)
        await until(lambda: len(workers_of(up) - before) == 2, "others run")
        await until(lambda: not list(sockets.iterdir()), "nothing is left of the dead")
        assert bridge(tmp_path, "call", TOPIC, "status").returncode == 0

    with Up(tmp_path, BRIDGE_TYPESCRIPT="off") as up:
        asyncio.run(scenario(up))


def test_orphans_of_a_dead_node_leave_with_the_rest(tmp_path: Path) -> None:
    with Up(tmp_path, BRIDGE_TYPESCRIPT="off") as up:
        node = node_of(up)
        assert node is not None
        os.kill(node, signal.SIGKILL)
        assert up.end() == 0
        assert "killed, as" not in up.output
        # Workers that a node just started again had begun see the end of their port a bit later.
        asyncio.run(until(lambda: processes_of(tmp_path) == {}, "every process left"))
