"""One gateway worker: its parts made, joined and ended."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import secrets
import signal
from pathlib import Path

from bridge.activities.activity import ActivityRuntime
from bridge.activities.elixir import ElixirActivities
from bridge.activities.http import HttpActivities
from bridge.activities.python import PythonActivities
from bridge.activities.typescript import TypeScriptActivities
from bridge.call_effects import Calls
from bridge.contracts import activities, builds
from bridge.contracts.files import contract_folders
from bridge.contracts.implementations import (
    LeftOut,
    folder_of,
    implementers,
    of_settings,
    python_handler,
    python_handlers,
)
from bridge.contracts.registry import Registry
from bridge.cutover import Cutover
from bridge.dispatch import Dispatcher
from bridge.edge.edge import Edge
from bridge.edge.listener import Listener, NoListener, obtain
from bridge.edge.moves import MoveCalls
from bridge.edge.serve import serve
from bridge.effects import Effects
from bridge.errors import BridgeError, ContractBroken
from bridge.gateway.figures import Figures
from bridge.gateway.joelclaw import Joelclaw
from bridge.gateway.status import Last, Status
from bridge.joelclaw.adapter import Adapter
from bridge.journal.redis import RedisJournal
from bridge.journal.store import Journal
from bridge.journal.values import Damaged, Storage
from bridge.link.arguments import PortArguments
from bridge.link.session import SessionLimits
from bridge.link.transport import Transport
from bridge.link.transports.port import open_port
from bridge.message import RuntimeName
from bridge.mover import Mover
from bridge.pause import pause
from bridge.redis.server import check_server
from bridge.rotation import Rotation
from bridge.runtimes.elixir import ElixirRuntime
from bridge.runtimes.node_links import NodeLinks
from bridge.runtimes.python import Handler, PythonRuntime
from bridge.runtimes.python_apart import PythonApart
from bridge.runtimes.runtime import Runtime
from bridge.runtimes.typescript import TypeScriptRuntime
from bridge.settings import Settings
from bridge.shadow import Shadow
from bridge.telemetry import Telemetry, log_to

REDIS_RETRY_S = 0.5
YOUNG_OBJECTS = 10_000  # that are made until a collection looks at them
ALIVE_S = 1.0
LOOK_S = 1.0  # how late a storage that was replaced is noticed where nothing is asked of it


def _load(
    settings: Settings, left_out: LeftOut
) -> tuple[Registry, dict[str, Handler], dict[str, str]]:
    """Load the built-in contracts and implementations and the user's, the same way.

    The last are the builds of the implementations, as far as `bridge up` kept them. What of the
    user's cannot be loaded is left out.
    """
    registry = Registry.load(*contract_folders(settings), left_out=left_out)
    entries = of_settings(settings, registry.names(), left_out)
    kept = builds.read(Path(settings.builds), "python") if settings.builds else {}
    handlers = python_handlers(entries, *folder_of(settings), builds=kept, left_out=left_out)
    return registry, handlers, {name: build.digest for name, build in kept.items()}


class Worker:
    """One gateway worker: edge, dispatcher, runtimes, effects and the link to the node."""

    def __init__(self, settings: Settings, port: PortArguments | None) -> None:
        self._settings = settings
        self._port = port
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._leaving = asyncio.Event()
        self._serves = False
        self._routes_gone = False
        self._damaged = set[str]()  # subsystems whose route cannot be read
        self._telemetry = Telemetry()
        self._log = logging.getLogger("bridge")
        self._telemetry.attach(log_to(self._log))
        self._last = Last()
        self._telemetry.attach(self._last)

    async def run(self) -> None:
        settings = self._settings
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._leave, number.name)
        # The port first: frames must not meet a process that still prints elsewhere.
        transport = open_port(self._port) if self._port else None
        left_out: LeftOut = []
        registry, handlers, digests = _load(settings, left_out)
        places = (
            activities.load(Path(settings.implementations)) if settings.implementations else {}
        )
        functions = activities.python_functions(places, registry, left_out)
        for fault in left_out:
            self._telemetry.emit("left_out", text=str(fault))
        elixir = ElixirRuntime()
        nodes = self._nodes(elixir, registry.digests(), transport)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(nodes.close)
            joelclaw = Joelclaw(self._name, settings, registry, self._telemetry, stack)
            journal = RedisJournal(
                settings.redis_url,
                done_ttl_ms=settings.done_ttl_ms,
                events_keep=settings.events_keep,
                delivering=joelclaw.delivering,
                replaced=self._storage_replaced,
            )
            stack.push_async_callback(journal.close)
            if not await self._storage_ready(journal, registry):
                return
            python = PythonRuntime(handlers, settings.python_budget_ms, digests)
            typescript = TypeScriptRuntime(settings.redis_url, self._name, registry.digests())
            runtimes: dict[RuntimeName, Runtime] = {
                "python": python,
                "elixir": elixir,
                "typescript": typescript,
            }
            await typescript.start()
            stack.push_async_callback(typescript.close)
            apart = PythonApart(python)
            stack.push_async_callback(apart.close)
            asked: dict[RuntimeName, Runtime] = {**runtimes, "python": apart}
            shadow = Shadow(journal, asked, self._telemetry)
            mover = Mover(
                registry,
                journal,
                runtimes,
                lambda: implementers(settings, registry.names(), left_out),
                self._telemetry,
            )
            shadow.noted = mover.noted
            python_activities = PythonActivities(functions, self._telemetry)
            stack.callback(python_activities.close)
            http_activities = HttpActivities(activities.of_runtime(places, "http"))
            stack.push_async_callback(http_activities.close)
            performing: dict[str, ActivityRuntime] = {
                "python": python_activities,
                "elixir": ElixirActivities(elixir),
                "typescript": TypeScriptActivities(typescript, self._name),
                "http": http_activities,
                **joelclaw.activities(activities.of_runtime(places, "inngest")),
            }
            dispatcher, effects = self._dispatch(
                registry, journal, runtimes, joelclaw, python, shadow, performing
            )
            adapters, feeds = joelclaw.adapters(dispatcher, journal)
            ingress = joelclaw.ingress(dispatcher)

            def figures() -> Figures:
                for name in registry.names():
                    if not python.available(name):  # no epoch has a build of it: it may be new
                        self._look_for_build(python, name)
                return {
                    "worker": self._name,
                    "pid": os.getpid(),
                    "edge": edge.figures(),
                    "runtimes": {
                        name: {s: runtime.available(s) for s in registry.names()}
                        for name, runtime in runtimes.items()
                    },
                    "left_out": list(map(str, left_out)),
                    "refused": journal.storage.refused,
                    "last": self._last.told,
                    "link": nodes.counts(),
                    "nodes": elixir.nodes(),
                    "builds": {"python": python.builds(), "typescript": typescript.builds()},
                    "joelclaw": {
                        "ingress": ingress.status(),
                        **{adapter.name: adapter.status() for adapter in adapters},
                    },
                    "counts": self._telemetry.counts(),
                }

            status = Status(
                self._name,
                journal,
                dict(implementers(settings, registry.names(), left_out)),
                figures,
            )
            edge = Edge(
                registry,
                dispatcher,
                journal,
                settings,
                self._telemetry,
                status=status.answer,
                ingress=ingress,
                feeds=feeds,
                moves=MoveCalls(mover, Cutover(registry, journal, asked, mover)),
            )
            for name in registry.names():
                edge.presence.add(name, registry.get(name))
            nodes.admit(edge.functions)
            beside = [
                asyncio.create_task(self._watch_storage(journal, registry)),
                asyncio.create_task(shadow.run()),
                asyncio.create_task(mover.run()),
                asyncio.create_task(status.run()),
            ]
            await self._serve(edge, effects, adapters)
            for task in beside:
                task.cancel()
            await status.leave()

    def _dispatch(
        self,
        registry: Registry,
        journal: Journal,
        runtimes: dict[RuntimeName, Runtime],
        joelclaw: Joelclaw,
        python: PythonRuntime,
        shadow: Shadow,
        performing: dict[str, ActivityRuntime],
    ) -> tuple[Dispatcher, Effects]:
        """Make the dispatcher and the executors: each commit wakes them, timers dispatch."""
        settings, telemetry = self._settings, self._telemetry
        effects: Effects
        dispatcher = Dispatcher(
            registry,
            journal,
            runtimes,
            telemetry,
            zone=settings.zone,
            committed=lambda subsystem: effects.kick(subsystem),
            rerouted=lambda subsystem: self._look_for_build(python, subsystem),
            watch=shadow,
        )
        calls = Calls(
            registry, journal, dispatcher, performing, telemetry, timeout_ms=settings.timeout_ms
        )
        effects = Effects(
            journal,
            dispatcher,
            joelclaw.executors(),
            registry.names(),
            telemetry,
            calls,
            lease_ms=settings.outbox_lease_ms,
            attempts=settings.outbox_attempts,
            timeout_ms=settings.timeout_ms,
        )
        return dispatcher, effects

    def _look_for_build(self, python: PythonRuntime, subsystem: str) -> None:
        """Take in what was reloaded: whoever reloads writes the build, then changes the route.

        So no commit under the new epoch is of another build, whichever worker makes it.
        """
        settings = self._settings
        if not settings.builds:
            return
        build = builds.read_one(Path(settings.builds), "python", subsystem)
        if build is None or build.digest == python.builds().get(subsystem):
            return
        try:
            where = of_settings(settings, [subsystem])[subsystem]["python"]
            handler = python_handler(subsystem, where, build)
        except (ContractBroken, LookupError) as error:
            python.replace(subsystem, None, build.digest)
            self._telemetry.emit("reload_failed", subsystem=subsystem, text=str(error))
        else:
            python.replace(subsystem, handler, build.digest)
            self._telemetry.emit("reloaded", subsystem=subsystem, build=build.digest)

    def _nodes(
        self, elixir: ElixirRuntime, digests: dict[str, str], transport: Transport | None
    ) -> NodeLinks:
        settings = self._settings
        nodes = NodeLinks(
            self._name,
            elixir,
            digests,
            Path(settings.link_dir) / f"{self._name}.sock" if settings.link_dir else None,
            SessionLimits(settings.link_max_frame_bytes, settings.link_in_flight),
            self._telemetry,
            self._leave,
            self._orphaned,
        )
        if transport is not None and self._port is not None:
            nodes.take_port(transport, self._port.packet)
        else:
            nodes.open_socket()
        return nodes

    async def _serve(self, edge: Edge, effects: Effects, adapters: list[Adapter]) -> None:
        """Take clients until told to leave, then send them on and finish what is in flight."""
        settings = self._settings
        try:
            listener = await obtain(settings, self._name)
        except OSError as error:  # whoever gives it out is stopping, or the port is taken
            raise NoListener(f"no socket to listen on: {error.strerror or error}") from error
        listener.hear(edge.told)
        self._serves = not self._leaving.is_set()
        # What is there now stays: each full collection would look at all of it, for 20 ms.
        gc.collect()
        gc.freeze()
        # A message makes some forty objects: by default each 18th would pay for a collection.
        gc.set_threshold(YOUNG_OBJECTS)
        started = asyncio.Event()
        work = asyncio.create_task(effects.run())
        beside = [asyncio.create_task(adapter.run()) for adapter in adapters]
        server = asyncio.create_task(serve(edge, settings, listener.sock, started.set))
        ready = asyncio.create_task(self._say_ready(started, listener))
        lost = asyncio.create_task(listener.lost.wait())
        leaving = asyncio.create_task(self._leaving.wait())
        done, _ = await asyncio.wait(
            (work, server, lost, leaving, *beside), return_when=asyncio.FIRST_COMPLETED
        )
        for adapter in adapters:
            adapter.close()
        self._telemetry.emit("draining", worker=self._name)
        try:
            async with asyncio.timeout(settings.drain_ms / 1000 + 1):
                await edge.drain()
        except TimeoutError:
            self._telemetry.emit("drain_cut_short", worker=self._name)
        await asyncio.wait((server, *beside), timeout=2)
        tasks = (work, server, lost, leaving, ready, *beside)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listener.close()
        for finished in done:
            finished.result()  # a defect that ended the worker is shown, not swallowed

    async def _say_ready(self, started: asyncio.Event, listener: Listener) -> None:
        await started.wait()
        await listener.ready()
        self._telemetry.emit("serving", worker=self._name)
        while True:
            await asyncio.sleep(ALIVE_S)
            await listener.alive()

    async def _storage_ready(self, journal: RedisJournal, registry: Registry) -> bool:
        """Wait for Redis as long as it is away; False when told to leave meanwhile.

        Raises UnsafeServer for one that would lose what it took, or does not allow a command.
        """
        said = ""
        while not self._leaving.is_set():
            try:
                await check_server(self._settings.redis_url, unsafe=self._settings.redis_unsafe)
                await journal.storage.recognise()
                await journal.adopt_routes()
                await self._ensure_routes(journal, registry)
                return True
            except BridgeError as error:
                if str(error) != said:
                    said = str(error)
                    self._telemetry.emit("waiting_for_redis", text=said)
            await pause(REDIS_RETRY_S, self._leaving)
        return False

    async def _watch_storage(self, journal: RedisJournal, registry: Registry) -> None:
        """Notice a storage that was replaced or went back, and write routes that are gone there:
        without them every subsystem would stop.
        """
        turn = Rotation(registry.names(), LOOK_S)
        while not self._leaving.is_set():
            await pause(LOOK_S, self._leaving)
            with contextlib.suppress(BridgeError):  # reads and commits report it
                await journal.storage.look()
                gone = self._routes_gone
                await self._ensure_routes(journal, registry, None if gone else turn.next())
                self._routes_gone = self._routes_gone and not gone

    def _storage_replaced(self, storage: Storage) -> None:
        self._routes_gone = True
        text = f"{storage.before} is now {storage.id}: {storage.why}"
        self._telemetry.emit("storage_replaced", text=text)

    async def _ensure_routes(
        self, journal: RedisJournal, registry: Registry, names: list[str] | None = None
    ) -> None:
        """Write the routes that are not there, of all subsystems or of these."""
        for name in registry.names() if names is None else names:
            if await journal.route(name) is None:
                contract = registry.get(name)
                try:
                    await journal.ensure_route(name, contract.owner, contract.fallback)
                except Damaged as error:  # the others are served
                    if name not in self._damaged:
                        self._telemetry.emit("damaged", subsystem=name, text=str(error))
                    self._damaged.add(name)
                    continue
                self._damaged.discard(name)
                self._telemetry.emit("route_made", subsystem=name, owner=contract.owner)

    def _orphaned(self) -> None:
        """Leave if nobody was served yet: clients of an orphan keep it, this one has none."""
        if not self._serves:
            self._leave("the node is gone")

    def _leave(self, why: str) -> None:
        self._telemetry.emit("leaving", worker=self._name, text=why)
        self._leaving.set()
