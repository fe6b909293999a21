"""A terminal on a real socket, a real journal and real handlers, and clients of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvloop
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from bridge.contracts.files import BUILT_IN
from bridge.contracts.registry import Registry
from bridge.dispatch import Dispatcher
from bridge.joelclaw.envelopes import Envelopes
from bridge.joelclaw.terminal.terminal import Terminal
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
from tests.running import SUBSYSTEMS
from tests.subsystems.echo.echo import handle as echo

REGISTRY = Registry.load(BUILT_IN, SUBSYSTEMS)


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
