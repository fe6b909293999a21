"""A gateway worker, put together: the only place of the worker that constructs things.

`python -m bridge.gateway`, by itself or as the program of an Erlang port (then with the
arguments ErlPort gives). Settings come from the environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import sys
from pathlib import Path

import uvloop

from bridge.contracts.files import BUILT_IN
from bridge.contracts.implementations import load_all, python_handlers
from bridge.contracts.registry import Registry
from bridge.dispatch import Dispatcher
from bridge.edge.access import check_exposure
from bridge.edge.edge import Edge
from bridge.edge.listener import Listener, NoListener, obtain
from bridge.edge.serve import serve
from bridge.effects import Effects, Executor, Inngest
from bridge.errors import BridgeError, ContractBroken
from bridge.journal.redis import RedisJournal
from bridge.journal.server import UnsafeServer, check_server
from bridge.journal.store import Journal
from bridge.link.arguments import BadArgument, PortArguments, parse_arguments
from bridge.link.session import SessionLimits
from bridge.link.transports.port import open_port
from bridge.message import JSON, RuntimeName
from bridge.runtimes.elixir import ElixirRuntime
from bridge.runtimes.node_links import NodeLinks
from bridge.runtimes.python import Handler, PythonRuntime
from bridge.runtimes.runtime import Runtime
from bridge.runtimes.typescript import TypeScriptRuntime
from bridge.settings import BadSetting, Settings, parse
from bridge.telemetry import Telemetry, log_to

REDIS_RETRY_S = 0.5
ROUTES_S = 5.0


def main() -> int:
    """Run a worker until it is told to leave. Exit 2: settings or contracts are wrong."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        settings = parse(os.environ)
        check_exposure(settings)
        port = parse_arguments(sys.argv[1:])
        uvloop.run(Worker(settings, port).run())
    except (BadSetting, BadArgument, ContractBroken, NoListener, UnsafeServer) as error:
        print(f"bridge: {error}", file=sys.stderr)
        return 2
    return 0


def _load(settings: Settings) -> tuple[Registry, dict[str, Handler]]:
    """Load the built-in contracts and implementations and the user's, the same way."""
    folders = [Path(folder) for folder in settings.contracts.split(":") if folder]
    files = [Path(settings.implementations)] if settings.implementations else []
    handlers = python_handlers(load_all(*files), *(file.resolve().parent for file in files))
    return Registry.load(BUILT_IN, *folders), handlers


class Worker:
    """One gateway worker: edge, dispatcher, runtimes, effects and the link to the node."""

    def __init__(self, settings: Settings, port: PortArguments | None) -> None:
        self._settings = settings
        self._port = port
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._leaving = asyncio.Event()
        self._telemetry = Telemetry()
        self._log = logging.getLogger("bridge")
        self._telemetry.attach(log_to(self._log))

    async def run(self) -> None:
        settings, telemetry = self._settings, self._telemetry
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._leave, number.name)
        # The port first: frames must not meet a process that still prints elsewhere.
        transport = open_port(self._port) if self._port else None
        registry, handlers = _load(settings)
        digests = registry.digests()
        journal = RedisJournal(
            settings.redis_url,
            done_ttl_ms=settings.done_ttl_ms,
            events_keep=settings.events_keep,
        )
        if not await self._storage_ready(journal, registry):
            await journal.close()
            return
        elixir = ElixirRuntime()
        typescript = TypeScriptRuntime(settings.redis_url, self._name, digests)
        runtimes: dict[RuntimeName, Runtime] = {
            "python": PythonRuntime(handlers, settings.python_budget_ms),
            "elixir": elixir,
            "typescript": typescript,
        }
        await typescript.start()
        effects: Effects
        dispatcher = Dispatcher(
            registry,
            journal,
            runtimes,
            telemetry,
            zone=settings.zone,
            committed=lambda subsystem: effects.kick(subsystem),
        )
        inngest = (
            Inngest(settings.inngest_url, settings.inngest_event_key)
            if settings.inngest_url
            else None
        )
        executors: dict[str, Executor] = {"inngest": inngest} if inngest else {}
        effects = Effects(
            journal,
            dispatcher,
            executors,
            registry.names(),
            telemetry,
            lease_ms=settings.outbox_lease_ms,
            attempts=settings.outbox_attempts,
            timeout_ms=settings.timeout_ms,
        )
        nodes = NodeLinks(
            self._name,
            elixir,
            digests,
            Path(settings.link_dir) / f"{self._name}.sock" if settings.link_dir else None,
            SessionLimits(settings.link_max_frame_bytes, settings.link_in_flight),
            telemetry,
            self._leave,
        )
        if transport is not None and self._port is not None:
            nodes.take_port(transport, self._port.packet)
        else:
            nodes.open_socket()

        async def status() -> dict[str, JSON]:
            return {
                "worker": self._name,
                "pid": os.getpid(),
                "runtimes": {
                    name: {s: runtime.available(s) for s in registry.names()}
                    for name, runtime in runtimes.items()
                },
                "link": nodes.counts(),
                "counts": telemetry.counts(),
            }

        edge = Edge(registry, dispatcher, journal, settings, telemetry, status=status)
        routes = asyncio.create_task(self._keep_routes(journal, registry))
        await self._serve(edge, effects)
        routes.cancel()
        await nodes.close()
        await typescript.close()
        if inngest is not None:
            await inngest.close()
        await journal.close()

    async def _serve(self, edge: Edge, effects: Effects) -> None:
        """Take clients until told to leave, then send them on and finish what is in flight."""
        settings = self._settings
        try:
            listener = await obtain(settings, self._name)
        except OSError as error:  # whoever gives it out is stopping, or the port is taken
            raise NoListener(f"no socket to listen on: {error.strerror or error}") from error
        started = asyncio.Event()
        work = asyncio.create_task(effects.run())
        server = asyncio.create_task(serve(edge, settings, listener.sock, started.set))
        ready = asyncio.create_task(_ready(started, listener))
        lost = asyncio.create_task(listener.lost.wait())
        leaving = asyncio.create_task(self._leaving.wait())
        done, _ = await asyncio.wait(
            (work, server, lost, leaving), return_when=asyncio.FIRST_COMPLETED
        )
        self._telemetry.emit("draining", worker=self._name)
        try:
            async with asyncio.timeout(settings.drain_ms / 1000 + 1):
                await edge.drain()
        except TimeoutError:
            self._telemetry.emit("drain_cut_short", worker=self._name)
        await asyncio.wait((server,), timeout=2)
        for task in (work, server, lost, leaving, ready):
            task.cancel()
        await asyncio.gather(work, server, lost, leaving, ready, return_exceptions=True)
        await listener.close()
        for finished in done:
            finished.result()  # a defect that ended the worker is shown, not swallowed

    async def _storage_ready(self, journal: Journal, registry: Registry) -> bool:
        """Wait for Redis as long as it is away; False when told to leave meanwhile.

        Raises UnsafeServer for one that would lose what it took.
        """
        said = ""
        while not self._leaving.is_set():
            try:
                await check_server(self._settings.redis_url, unsafe=self._settings.redis_unsafe)
                await self._ensure_routes(journal, registry)
                return True
            except BridgeError as error:
                if str(error) != said:
                    said = str(error)
                    self._telemetry.emit("waiting_for_redis", text=said)
            await self._pause(REDIS_RETRY_S)
        return False

    async def _keep_routes(self, journal: Journal, registry: Registry) -> None:
        """Write routes that are gone: of a Redis that was emptied, every subsystem would stop."""
        while not self._leaving.is_set():
            await self._pause(ROUTES_S)
            with contextlib.suppress(BridgeError):  # reads and commits report it
                await self._ensure_routes(journal, registry)

    async def _ensure_routes(self, journal: Journal, registry: Registry) -> None:
        there = {route.subsystem for route in await journal.routes()}
        for name in registry.names():
            if name not in there:
                contract = registry.get(name)
                await journal.ensure_route(name, contract.owner, contract.fallback)
                self._telemetry.emit("route_made", subsystem=name, owner=contract.owner)

    async def _pause(self, seconds: float) -> None:
        """Sleep, but not longer than until told to leave."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._leaving.wait()

    def _leave(self, why: str) -> None:
        self._telemetry.emit("leaving", worker=self._name, text=why)
        self._leaving.set()


async def _ready(started: asyncio.Event, listener: Listener) -> None:
    await started.wait()
    await listener.ready()


if __name__ == "__main__":
    sys.exit(main())
