"""Who may attach to the terminal, and what happens to the attached in trouble."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

import httpx
import pytest
import uvloop
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidMessage, InvalidStatus
from websockets.typing import Origin

from bridge.joelclaw.terminal.terminal import MAX_CLIENTS
from tests.deadline import DEADLINE_S, until
from tests.joelclaw.terminal.bench import Bench, Client, run
from tests.redis_server import free_port
from tests.running import ALONE, SUBSYSTEMS, Up

PLAIN = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


# -- who may attach ------------------------------------------------------------------------
def test_without_an_upgrade_426_is_answered() -> None:
    async def test(bench: Bench) -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            url = f"http://127.0.0.1:{bench.port}"
            for method, path in (
                ("GET", "/"),
                ("POST", "/"),
                ("GET", "/socket"),
                ("PUT", "/health"),
            ):
                response = await http.request(method, url + path)
                assert (response.status_code, response.headers["upgrade"]) == (426, "websocket")

    run(test)


GARBAGE = (
    b"",
    bytes(100_000),
    bytes(range(256)) * 40,
    bytes.fromhex("16030100b3010000af0303"),  # TLS
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"*1\r\n$4\r\nPING\r\n",
    b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 5_000,
    b"GET /\xff HTTP/1.1\r\nHost: \xff\r\n\r\n",
    b"G" * 1_000_000,
    PLAIN[:40],
    PLAIN * 2,
    PLAIN + bytes.fromhex("8102 7b7d"),  # not masked
    PLAIN + bytes.fromhex("8b81 00000000 78"),  # an opcode that is none
    PLAIN + bytes.fromhex("81ff 8000000000000005 00000000"),  # a length below 0
    PLAIN + bytes.fromhex("0081 00000000 78"),  # goes on with nothing
    PLAIN + bytes.fromhex("8882 00000000 03ed"),  # a code nobody may send
    PLAIN + bytes.fromhex("8182 00000000 fffe"),  # not UTF-8
)


def test_garbage_harms_nobody_else() -> None:
    async def test(bench: Bench) -> None:
        writers = []
        async with bench.client() as client:
            for garbage in GARBAGE:
                _, writer = await asyncio.open_connection("127.0.0.1", bench.port)
                writers.append(writer)
                writer.write(garbage)
                await client.send({"type": "status"})
                assert (await client.receive())["type"] == "status"
            for writer in writers:
                writer.close()
        async with bench.client():
            pass
        assert not [name for name in bench.telemetry.counts() if name.startswith("defect")]

    run(test)


def test_health_is_answered_without_a_token() -> None:
    async def test(bench: Bench) -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            url = f"http://127.0.0.1:{bench.port}/health"
            assert (await http.get(url)).status_code == 200
            assert (await http.head(url)).status_code == 200

    run(test, token="s3cret")


def test_a_token_is_required_when_set() -> None:
    async def test(bench: Bench) -> None:
        for path in ("/", "/?token=wrong"):
            with pytest.raises(InvalidStatus) as refused:
                async with bench.client(path):
                    pass
            assert refused.value.response.status_code == 401
        async with bench.client("/?token=s3cret%2F%2B") as client:
            await client.send({"type": "prompt", "text": "by parameter"})
            assert await client.said() == "by parameter"
        header = {"Authorization": "Bearer s3cret/+"}
        async with bench.client(additional_headers=header) as client:
            await client.send({"type": "prompt", "text": "by header"})
            assert await client.said() == "by header"

    run(test, token="s3cret/+")


def test_a_page_of_another_site_is_refused() -> None:
    async def test(bench: Bench) -> None:
        with pytest.raises(InvalidStatus) as refused:
            async with bench.client(origin=Origin("http://evil.example")):
                pass
        assert refused.value.response.status_code == 403
        assert bench.count("terminal_refused{status=403}") == 1
        async with httpx.AsyncClient(trust_env=False) as http:
            rebound = await http.get(
                f"http://127.0.0.1:{bench.port}/health", headers={"host": "evil.example"}
            )
            assert rebound.status_code == 403

    run(test)


def test_one_client_too_many_is_refused_until_one_leaves() -> None:
    async def test(bench: Bench) -> None:
        url = f"ws://127.0.0.1:{bench.port}/"
        clients = [await connect(url, proxy=None) for _ in range(MAX_CLIENTS)]
        with pytest.raises(InvalidStatus) as refused:
            await connect(url, proxy=None)
        assert refused.value.response.status_code == 503
        await clients.pop().close()
        clients.append(await connect(url, proxy=None))
        for client in clients:
            await client.close()

    run(test)


# -- trouble -------------------------------------------------------------------------------
def test_a_client_that_does_not_read_is_closed_and_the_others_miss_nothing() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client() as good, bench.client(max_queue=1) as slow:
            piece = "x" * 50_000
            while bench.count("terminal_slow") == 0:
                await bench.show("terminal.text_delta", {"delta": piece})
                assert (await good.receive())["delta"] == piece
            assert await slow.closed() == 1013
            await good.send({"type": "prompt", "text": "still here"})
            assert await good.said() == "still here"
            assert bench.terminals["one"].status()["clients"] == 1

    run(test, max_queue_bytes=65536)


def test_a_restart_of_redis_is_waited_out_and_said_twice() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client() as client:
            bench.server.kill9()
            await until(lambda: bench.count("terminal_events_away"), "the loss is seen")
            await client.send({"type": "status"})
            status, error = await client.receive(), await client.receive()
            assert status["data"]["channelInfo"]["redis"] == "degraded"
            assert error["message"].startswith("storage_unavailable: ")
            bench.server.restart()
            await until(lambda: bench.count("terminal_events_back"), "Redis is back")
            await client.send({"type": "prompt", "text": "after the restart"})
            assert await client.said() == "after the restart"
        assert bench.count("terminal_events_away") == 1
        assert bench.count("terminal_events_back") == 1

    run(test)


def test_one_worker_serves_and_another_takes_over_when_it_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bridge.joelclaw.terminal.terminal.AGAIN_S", 0.001)

    async def test(bench: Bench) -> None:
        two = await bench.start("two")
        assert not two.status()["serving"]
        async with bench.client() as client:
            for n in range(20):  # in the meantime it tries again and again
                await client.send({"type": "prompt", "text": f"to the first, {n}"})
                assert await client.said() == f"to the first, {n}"
            await bench.kill("one")
            await client.closed()
        await until(lambda: two.status()["serving"], "the other one serves")
        async with bench.client() as client:
            await client.send({"type": "prompt", "text": "to the second"})
            assert await client.said() == "to the second"
        assert bench.count("terminal_waits{worker=two}") == 1  # once, however long it lasted

    run(test)


def test_a_stopping_worker_sends_its_clients_on_and_finishes_what_it_began() -> None:
    async def test(bench: Bench) -> None:
        bench.python.gate, bench.python.begun = asyncio.Event(), asyncio.Event()
        async with bench.client() as client:
            await client.send({"type": "prompt", "text": "under way"})
            await bench.python.begun.wait()
            bench.terminals["one"].close()
            assert await client.closed() == 1012
            assert not bench.running["one"].done()
            bench.python.gate.set()
            await bench.running.pop("one")
        [(_, entry)] = await bench.journal.entries("echo")
        assert entry["request"] == {"text": "under way"}

    run(test)


def test_a_killed_worker_of_a_real_bridge_is_followed_by_another(tmp_path: Path) -> None:
    async def prompt(url: str, text: str) -> int:
        """Attach as soon as somebody serves; return the pid of who does."""
        while True:
            try:
                async with connect(url, proxy=None) as connection:
                    client = Client(connection)
                    pid: int = (await client.receive())["data"]["pid"]
                    await client.send({"type": "prompt", "text": text})
                    assert await client.said() == text
                    return pid
            except (OSError, InvalidMessage):  # nobody is there, or it died just now
                await asyncio.sleep(0.05)

    async def within(url: str) -> None:
        async with asyncio.timeout(4 * DEADLINE_S):
            first = await prompt(url, "before")
            os.kill(first, signal.SIGKILL)
            assert await prompt(url, "after") != first

    port = free_port()
    with Up(
        tmp_path / "bridge",
        *("--contracts", str(SUBSYSTEMS)),
        *("--implementations", str(SUBSYSTEMS / "implementations.json")),
        BRIDGE_TERMINAL_PORT=str(port),
        BRIDGE_TERMINAL="echo:main",
        **ALONE,
    ) as up:
        assert f"\nterminal ws://127.0.0.1:{port}" in up.output
        uvloop.run(within(f"ws://127.0.0.1:{port}"))


def test_a_port_that_another_program_has_is_told_and_served_once_it_is_free(
    tmp_path: Path,
) -> None:
    async def attach(port: int) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                try:
                    async with connect(f"ws://127.0.0.1:{port}", proxy=None) as connection:
                        assert (await Client(connection).receive())["type"] == "status"
                        return
                except OSError:
                    await asyncio.sleep(0.05)

    daemon = socket.create_server(("127.0.0.1", 0))
    port = daemon.getsockname()[1]
    with Up(tmp_path / "bridge", BRIDGE_TERMINAL_PORT=str(port), **ALONE) as up:
        assert f"port {port} is taken, by joelclaw's own daemon perhaps" in up.output
        daemon.close()
        uvloop.run(attach(port))
