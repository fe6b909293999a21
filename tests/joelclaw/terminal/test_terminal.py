"""joelclaw's terminal client on real sockets, a real journal and real handlers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus
from websockets.typing import Origin

from bridge.contracts.files import BUILT_IN
from bridge.contracts.registry import Registry
from bridge.dispatch import Dispatcher
from bridge.joelclaw.envelopes import Envelopes
from bridge.joelclaw.terminal.terminal import MAX_CLIENTS, Terminal
from bridge.joelclaw.terminal.topic import check_terminal
from bridge.journal.redis import RedisJournal
from bridge.message import Invocation, Judge, Message, Outcome
from bridge.runtimes.python import PythonRuntime
from bridge.runtimes.runtime import unjudged
from bridge.settings import Settings
from bridge.subsystems import terminal as relay
from bridge.telemetry import Telemetry
from tests.deadline import DEADLINE_S, until
from tests.redis_server import RedisServer, free_port
from tests.running import ALONE, SUBSYSTEMS, Up
from tests.subsystems.echo.echo import handle as echo

REGISTRY = Registry.load(BUILT_IN, SUBSYSTEMS)

# What the unmodified client sent, byte for byte (joelclaw at e6376619, under Bun 1.4.5): its
# request, the question it asks when it is connected, a line typed into it, and `/abort`.
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1:34019\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    b"Sec-WebSocket-Key: LbKHYd8D2UvWb7WiKxBBUQ==\r\n\r\n"
)
ACCEPTED = b"Sec-WebSocket-Accept: cxNyfz5SH740e+NcMzgUj3AULRA=\r\n"
ASKED = b"\x81\x91\xf4_g7\x8f}\x13N\x84:E\r\xd6,\x13V\x80*\x14\x15\x89"
TYPED = (
    b"\x81\xb2U\xefQz.\xcd%\x03%\x8as@w\x9f#\x158\x9f%Xy\xcd%\x1f-\x9bs@w\x874\x169\x80q\x1c'\x80<Z!"
    b"\x874Z'\x8a0\x16u\x9b$\x13w\x92"
)
ABORTED = b"\x81\x90dI\x12\x16\x1fkfo\x14,0,F(py\x16=0k"


class Python(PythonRuntime):
    """The real handlers; `gate` holds back prompts, once they have `begun`, until it is set."""

    gate: asyncio.Event | None = None
    begun: asyncio.Event

    async def handle(self, invocation: Invocation, judge: Judge = unjudged) -> Outcome:
        if self.gate is not None and invocation.operation == "prompt":
            self.begun.set()
            await self.gate.wait()
        return await super().handle(invocation, judge)


class Client:
    """A terminal: it sends and receives frames."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, frame: Any) -> None:
        raw = frame if isinstance(frame, str | bytes) else json.dumps(frame)
        await self.connection.send(raw)

    async def receive(self) -> Any:
        return json.loads(await self.connection.recv())

    async def turn(self) -> list[Any]:
        """Return the frames up to the end of a turn."""
        frames: list[Any] = []
        while not frames or frames[-1]["type"] != "turn_end":
            frames.append(await self.receive())
        return frames

    async def said(self) -> str:
        return "".join(frame.get("delta", "") for frame in await self.turn())

    async def closed(self) -> int:
        """Wait until the server closes; return its code."""
        try:
            while True:
                await self.connection.recv()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd is not None else 1006


@dataclass
class Bench:
    """Terminals like those of workers, on one port and one Redis."""

    server: RedisServer
    journal: RedisJournal
    settings: Settings
    python: Python
    dispatcher: Dispatcher
    telemetry: Telemetry
    terminals: dict[str, Terminal] = field(default_factory=dict)
    running: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def start(self, worker: str = "one") -> Terminal:
        """Run a terminal as a worker would; return when it serves, or waits for the port."""
        topic = check_terminal(self.settings, REGISTRY)
        assert topic is not None
        terminal = Terminal(
            worker,
            topic,
            self.dispatcher,
            self.journal,
            Envelopes.load(),
            self.settings,
            self.telemetry,
        )
        waited = self.count(f"terminal_waits{{worker={worker}}}")
        self.terminals[worker] = terminal
        self.running[worker] = asyncio.create_task(terminal.run())
        await until(
            lambda: (
                terminal.status()["serving"]
                or self.count(f"terminal_waits{{worker={worker}}}") > waited
            ),
            f"terminal {worker} has looked for its port",
        )
        return terminal

    async def kill(self, worker: str) -> None:
        self.running[worker].cancel()
        await asyncio.gather(self.running.pop(worker), return_exceptions=True)

    @property
    def port(self) -> int:
        return self.settings.terminal_port

    @asynccontextmanager
    async def client(self, path: str = "/", **options: Any) -> AsyncIterator[Client]:
        url = f"ws://127.0.0.1:{self.port}{path}"
        async with connect(url, proxy=None, **options) as connection:
            client = Client(connection)
            assert (await client.receive())["type"] == "status"
            yield client

    async def ask(self, operation: str, request: Any, key: str = "main") -> Any:
        """Push to the topic's subsystem, as another client of the bridge does."""
        subsystem = self.settings.terminal.partition(":")[0]
        message = Message(f"m{next(self._ids)}", subsystem, key, operation, request)
        return await self.dispatcher.dispatch(message, timeout_ms=5000)

    async def show(self, type: str, payload: Any, key: str = "main") -> None:
        await self.ask("show", {"type": type, "payload": payload}, key)

    def count(self, name: str) -> int:
        return self.telemetry.counts().get(name, 0)

    def __post_init__(self) -> None:
        self._ids = iter(range(10**6))


@asynccontextmanager
async def bench(*, events_keep: int = 10_000, **changes: Any) -> AsyncIterator[Bench]:
    settings = Settings(
        **{"terminal_port": free_port(), "terminal": "echo:main", "timeout_ms": 5000, **changes}
    )
    with RedisServer() as server:
        journal = RedisJournal(server.url, events_keep=events_keep)
        telemetry = Telemetry()
        for name in ("echo", "terminal"):
            await journal.ensure_route(name, "python", None)
        python = Python({"echo": echo, "terminal": relay.handle}, budget_ms=1000)
        dispatcher = Dispatcher(REGISTRY, journal, {"python": python}, telemetry)
        made = Bench(server, journal, settings, python, dispatcher, telemetry)
        try:
            yield made
        finally:
            if python.gate is not None:
                python.gate.set()
            for worker in list(made.running):
                await made.kill(worker)
            await journal.close()


def run(
    test: Callable[[Bench], Awaitable[None]], *, started: bool = True, **options: Any
) -> None:
    """Run a test on a bench of its own, within the deadline."""

    async def within() -> None:
        async with asyncio.timeout(DEADLINE_S), bench(**options) as made:
            if started:
                await made.start()
            await test(made)

    uvloop.run(within())


PLAIN = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


# -- frames --------------------------------------------------------------------------------
async def frame_of(reader: asyncio.StreamReader) -> Any:
    """Read one unmasked text frame of a server (RFC 6455, 5.2)."""
    head = await reader.readexactly(2)
    assert head[0] == 0x81
    length = head[1]
    if length == 126:
        length = int.from_bytes(await reader.readexactly(2))
    return json.loads(await reader.readexactly(length))


def test_the_real_clients_bytes_are_answered() -> None:
    async def test(bench: Bench) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        writer.write(HANDSHAKE)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert ACCEPTED in head
        status = await frame_of(reader)
        assert status["type"] == "status"
        writer.write(ASKED)
        again = await frame_of(reader)
        assert again["data"].keys() == status["data"].keys()
        writer.write(TYPED)
        assert [await frame_of(reader) for _ in range(4)] == [
            {"type": "text_delta", "delta": "hello fr"},
            {"type": "text_delta", "delta": "om the r"},
            {"type": "text_delta", "delta": "eal tui"},
            {"type": "turn_end"},
        ]
        writer.write(ABORTED)
        assert await frame_of(reader) == {
            "type": "error",
            "message": "nothing_runs: a turn is over as soon as it began",
        }
        writer.close()

    run(test)


def test_the_status_has_every_member_the_daemon_sends() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client() as client:
            await client.send({"type": "status"})
            data = (await client.receive())["data"]
            assert data.keys() == {
                "sessionId",
                "isStreaming",
                "model",
                "uptimeMs",
                "pid",
                "channelInfo",
                "queueDepth",
            }
            assert (data["sessionId"], data["model"]) == ("main", "echo")  # the subsystem's word
            assert data["channelInfo"] == {
                "bridge": "one",
                "redis": "ok",
                "ws": {"port": bench.port, "clients": 1},
            }

    run(test)


def test_what_one_types_all_see_in_the_same_order() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client() as one, bench.client() as two, bench.client() as three:
            texts = [f"prompt {n} of one client" for n in range(10)]
            for text in texts:
                await one.send({"type": "prompt", "text": text})
            for client in (one, two, three):
                assert [await client.said() for _ in texts] == texts

    run(test)


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        ("no json", "invalid_frame: joelclaw TerminalRequest: the text is not JSON"),
        (b"\xff", "invalid_text: joelclaw TerminalRequest: the text is not UTF-8"),
        ([], "expected exactly one of the alternatives, got array"),
        ({"type": "prompt"}, "expected member 'text', got object"),
        ({"type": "prompt", "text": ""}, "/text breaks minLength: expected 1, got string"),
        ({"type": "prompt", "text": 7}, "/text breaks type: expected string, got integer"),
        ({"type": "quit"}, "send `prompt`, `abort` or `status`"),
        ({"type": "prompt", "text": "a" * 100_001}, "/text breaks maxLength: expected 100000"),
        ({"type": "abort"}, "nothing_runs: a turn is over as soon as it began"),
    ],
)
def test_a_frame_that_cannot_be_taken_is_answered_and_the_socket_stays(
    frame: Any, told: str
) -> None:
    async def test(bench: Bench) -> None:
        async with bench.client() as client, bench.client() as other:
            await client.send(frame)
            answer = await client.receive()
            assert answer["type"] == "error"
            assert told in answer["message"]
            await client.send({"type": "prompt", "text": "next"})
            assert await client.said() == "next"
            assert await other.turn() == [  # the error was not its business
                {"type": "text_delta", "delta": "next"},
                {"type": "turn_end"},
            ]

    run(test)


def test_a_prompt_in_a_binary_frame_is_taken_as_the_daemon_takes_it() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client() as client:
            await client.send(b'{"type":"prompt","text":"bytes"}')
            assert await client.said() == "bytes"

    run(test)


def test_a_frame_over_the_limit_closes_with_1009() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client() as client:
            await client.send("x" * 2000)
            assert await client.closed() == 1009

    run(test, max_frame_bytes=1024)


def test_only_the_topics_events_become_frames() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client() as client:
            await bench.show("terminal.text_delta", {"delta": "of another key"}, key="other")
            await bench.show("text_delta", {"delta": "of another type"})
            await bench.show("terminal.status", {"data": {}})
            call = {"id": "1", "toolName": "bash", "input": {"command": "ls"}}
            await bench.show("terminal.tool_call", call)
            result = {"id": "1", "toolName": "bash", "content": [{"type": "text", "text": "a"}]}
            await bench.show("terminal.tool_result", {**result, "isError": True})
            await bench.show("terminal.error", {"message": "Tool bash failed (1)"})
            assert [await client.receive() for _ in range(3)] == [
                {"type": "tool_call", **call},
                {"type": "tool_result", **result, "isError": True},
                {"type": "error", "message": "Tool bash failed (1)"},
            ]

    run(test)


def test_an_event_that_is_no_frame_is_told_not_sent() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client() as client:
            await bench.show("terminal.text_delta", {"text": "the member is `delta`"})
            answer = await client.receive()
            assert answer["type"] == "error"
            assert "expected member 'delta'" in answer["message"]
            await client.send({"type": "prompt", "text": "go on"})
            assert await client.said() == "go on"
        assert bench.count("terminal_off_contract") == 1

    run(test)


def test_output_that_was_trimmed_before_it_was_read_is_told() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client() as client:
            await client.send({"type": "prompt", "text": "x" * 2400})  # 300 pieces in one commit
            first, *rest = await client.turn()
            assert "some output is missing" in first["message"]
            assert 100 <= len(rest) < 301  # what the stream still had

    run(test, events_keep=100)


# -- the built-in relay --------------------------------------------------------------------
def test_a_prompt_is_left_for_the_session_and_what_it_says_is_shown() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client() as client:
            await client.send({"type": "prompt", "text": "anybody?"})
            assert (await client.receive())["message"].startswith("no_session: ")
            await bench.ask("configure", {"session": "desk"})
            await client.send({"type": "prompt", "text": "is it in sync?"})
            await client.send({"type": "status"})
            data = (await client.receive())["data"]
            assert (data["sessionId"], data["isStreaming"], data["queueDepth"]) == (
                "desk",
                False,
                1,
            )
            [entry] = await bench.journal.outbox("terminal")
            assert entry.effect == {
                "effect": "system_event",
                "session": "desk",
                "type": "terminal.prompt",
                "payload": {"prompt": "is it in sync?", "originSession": "terminal:main"},
            }
            await bench.ask("say", {"frame": {"type": "text_delta", "delta": "It is."}})
            await bench.ask("say", {"frame": {"type": "turn_end"}})
            assert await client.said() == "It is."
            await client.send({"type": "abort"})  # is no frame: it is the session's to see
            await client.send({"type": "status"})
            assert (await client.receive())["data"]["queueDepth"] == 0

    run(test, terminal="terminal:main")


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
