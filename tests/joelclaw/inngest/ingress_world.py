"""An edge with the ingress, the counter behind it and an Inngest in small to pass things to."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from bridge.contracts.registry import Registry
from bridge.dispatch import Dispatcher
from bridge.edge.edge import Edge
from bridge.edge.listener import bind
from bridge.edge.serve import serve
from bridge.joelclaw.envelopes import Envelopes
from bridge.joelclaw.inngest.api import EventApi
from bridge.joelclaw.inngest.ingress import Ingress
from bridge.joelclaw.inngest.routes import parse_routes
from bridge.journal.memory import MemoryJournal
from bridge.runtimes.python import PythonRuntime
from bridge.settings import Settings
from bridge.telemetry import Telemetry
from bridge.turns import Turns
from tests.deadline import DEADLINE_S
from tests.joelclaw.inngest.inngest_server import InngestServer
from tests.running import SUBSYSTEMS
from tests.subsystems.counter.counter import handle as counter

KEY = "evt-k3y/+"
ROUTES = "add/asked=counter:a:b/add, fail/asked=counter:f/fail,once/asked=counter:o/once"
ENVELOPES = Envelopes.load()


@dataclass
class Answered:
    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


@dataclass
class World:
    edge: Edge
    ingress: Ingress
    inngest: InngestServer
    journal: MemoryJournal
    telemetry: Telemetry
    port: int

    async def http(self, method: str, target: str, body: bytes = b"", **headers: str) -> Answered:
        """Make one HTTP call; underscores in header names become hyphens."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        lines = {"host": f"127.0.0.1:{self.port}", "content-length": str(len(body)), **headers}
        head = "".join(f"{n.replace('_', '-')}: {value}\r\n" for n, value in lines.items())
        writer.write(f"{method} {target} HTTP/1.1\r\nconnection: close\r\n{head}\r\n".encode())
        writer.write(body)
        answer = await reader.read()
        writer.close()
        top, _, rest = answer.partition(b"\r\n\r\n")
        first, *lines_of_answer = top.decode().split("\r\n")
        pairs = (line.partition(": ") for line in lines_of_answer)
        return Answered(int(first.split()[1]), {n.lower(): v for n, _, v in pairs}, rest)

    async def post(self, value: Any, **headers: str) -> Answered:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        return await self.http("POST", "/e/evt-k3y%2F+", body, **headers)

    async def entries(self) -> list[dict[str, Any]]:
        """Return what was committed, oldest first."""
        return [entry for _, entry in await self.journal.entries("counter")]

    async def tags(self) -> list[str]:
        return [entry["request"].get("tag", "") for entry in await self.entries()]

    def count(self, name: str) -> int:
        return sum(n for text, n in self.telemetry.counts().items() if text.startswith(name))

    @property
    def events(self) -> Any:
        """Return the status's counts of events that were seen."""
        status: Any = self.ingress.status()
        return {name: counts for name, counts in status["events"].items() if counts}


@asynccontextmanager
async def world(
    *,
    url: str | None = None,
    event_key: str = KEY,
    routes: str = ROUTES,
    exposed: bool = False,
    timeout_ms: int = 2000,
    handle: Any = counter,
) -> AsyncIterator[World]:
    """`url` is Inngest's, "" for none, by default that of a small one of our own."""
    registry = Registry.load(SUBSYSTEMS / "counter")
    journal = MemoryJournal(itertools.count(1_000_000).__next__)
    await journal.set_route("counter", "python", None)
    telemetry = Telemetry()
    runtime = PythonRuntime({"counter": handle}, budget_ms=1000)
    dispatcher = Dispatcher(registry, journal, {"python": runtime}, telemetry)
    inngest = InngestServer()
    started_at = await inngest.start()
    where = started_at if url is None else url
    api = EventApi(where, event_key) if where else None
    ids = itertools.count()
    ingress = Ingress(
        parse_routes(routes, registry),
        registry,
        dispatcher,
        ENVELOPES,
        api,
        telemetry,
        Turns(),
        event_key=event_key,
        exposed=exposed,
        timeout_ms=timeout_ms,
        new_id=lambda: f"new-{next(ids)}",
    )
    # The settings say whether the edge is exposed: a token is then asked of all but events.
    settings = Settings(request_timeout_ms=timeout_ms)
    if exposed:
        settings = replace(settings, host="0.0.0.0", token="t0ken")
    edge = Edge(registry, dispatcher, journal, settings, telemetry, ingress=ingress)
    sock = bind("127.0.0.1", 0)
    port = sock.getsockname()[1]
    started = asyncio.Event()
    serving = asyncio.create_task(serve(edge, settings, sock, started.set))
    await started.wait()
    try:
        yield World(edge, ingress, inngest, journal, telemetry, port)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        if api is not None:
            await api.close()
        await inngest.stop()


def run(test: Callable[[World], Awaitable[None]], **given: Any) -> None:
    """Run a test in a world of its own, within the deadline."""

    async def main() -> None:
        async with asyncio.timeout(DEADLINE_S), world(**given) as w:
            await test(w)

    asyncio.run(main())


SEED = "1795380404972,iVvyYVfEl1pWJg=="
JSON = "application/json"


def added(tag: str, **more: Any) -> dict[str, Any]:
    """Return an event that has a route."""
    return {"name": "add/asked", "data": {"tag": tag}, **more}


def other(n: int = 0, **more: Any) -> dict[str, Any]:
    """Return an event that has none."""
    return {"name": f"other/{n}", "data": {"n": n}, **more}
