"""`bridge up`: start what is missing, show that it works, serve, leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from bridge.access import check_exposure
from bridge.contracts.files import contract_folders
from bridge.contracts.implementations import LeftOut, of_settings
from bridge.contracts.registry import Registry
from bridge.errors import BridgeError
from bridge.joelclaw.terminal.terminal import port_taken
from bridge.joelclaw.wanted import check_joelclaw
from bridge.message import RUNTIMES, RuntimeName
from bridge.progress import painted
from bridge.settings import PREFIX, Settings
from bridge.table import table
from bridge.up import builds, environment, programs, yours
from bridge.up.address import check_port, listen, url_of
from bridge.up.gateway import Gateway
from bridge.up.listener import Listener
from bridge.up.live import look_at
from bridge.up.place import (
    Lock,
    RunFile,
    StartFailed,
    open_log,
    remove_dead_sockets,
    remove_leftovers,
    sockets_directory,
)
from bridge.up.probe import Finding, probe, probe_edge
from bridge.up.programs import Command, Missing
from bridge.up.redis_server import HOW_TO_GET, RedisServer, check_configured, find_binary
from bridge.up.reload import reload
from bridge.up.storage import StorageWatch
from bridge.up.supervisor import Child, Program, reap_strangers
from bridge.up.web import LISTEN_FD, PHOENIX_PORT, node_with_web, port_for_web
from bridge.up.workers import Workers

READY_TIMEOUT_S = 30.0
PROBE_TIMEOUT_S = 15.0
LOOK_AT_DIRECTORY_S = 0.5
MARGIN_S = 5.0  # beyond `drain_ms`, before a child is killed; the node takes up to 4 s


def up(
    settings: Settings,
    say: Callable[[str], None],
    *,
    check: bool = False,
    port_asked: bool = True,
    doing: Callable[[str], None] = lambda what: None,
) -> int:
    """Run the bridge until SIGINT, SIGTERM or SIGHUP; with `check` only until it is shown.

    `port_asked`: somebody wants just this port, so that no other one will do. `doing` is told
    what is waited for until it serves. Returns the exit code. Raises StartFailed, BadSetting and
    ContractBroken.
    """
    return asyncio.run(_until_signal(_Run(settings, say, port_asked, doing), check))


async def _until_signal(run: _Run, check: bool) -> int:
    serving = asyncio.create_task(run.serve(check))
    stopping = False

    def stop() -> None:
        nonlocal stopping
        if stopping:
            run.kill()  # asked twice: wait for nobody any more
        else:
            stopping = True
            run.tell_that_it_stops()
            serving.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
    try:
        return await serving
    except asyncio.CancelledError:
        return 0


class _Run:
    """One run of the bridge, from the lock to the last child's end.

    Each step registers its own undoing, so that whatever happens the workers leave first, then
    the TypeScript service, then Redis, then files and lock.
    """

    def __init__(
        self,
        settings: Settings,
        say: Callable[[str], None],
        port_asked: bool,
        doing: Callable[[str], None],
    ) -> None:
        # As they were given, and as children get them: with what was kept at the start.
        self._given = self._settings = environment.absolute(settings)
        self._say = say
        self._port_asked = port_asked
        self._doing = doing
        self._directory = Path(self._settings.dir)
        self._logs = self._directory / "logs"
        self._restarts: dict[str, int] = {}
        self._missing: dict[RuntimeName, Missing] = {}
        self._without_web: Missing | None = None
        self._phoenix_url = ""
        self._listening = -1
        self._left_out: LeftOut = []
        self._redis: RedisServer | None = None
        self._typescript: Child | None = None
        self._workers: Workers | None = None

    async def serve(self, check: bool) -> int:
        check_exposure(self._settings)
        check_port(self._settings.port)
        check_port(self._settings.phoenix_port, PHOENIX_PORT)
        self._doing("reading contracts")
        left_out = self._left_out
        registry = Registry.load(*contract_folders(self._settings), left_out=left_out)
        check_joelclaw(self._settings, registry)
        async with AsyncExitStack() as stack:
            lock = self._take_directory(stack)
            serving = asyncio.create_task(self._serve(stack, lock, registry, check))
            tasks = serving, asyncio.create_task(self._until_lost(lock))
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            if how := lock.lost():
                self._say(
                    f"{self._directory} {how} while this bridge ran (pid {os.getpid()}): "
                    "stopping, what it kept there is lost; stop a bridge before its directory is "
                    "removed"
                )
                return 1
            return await serving

    async def _serve(
        self, stack: AsyncExitStack, lock: Lock, registry: Registry, check: bool
    ) -> int:
        left_out = self._left_out
        self._settings = builds.keep(self._given, registry, left_out)
        await self._leave_out(registry)
        self._doing("starting Redis")
        await self._start_redis(stack)
        await self._look_at_storage(stack, lock)
        self._doing("looking at live states")
        await self._look_at_states(registry)
        listener = self._listen(stack)
        reaper = asyncio.create_task(reap_strangers(self._pids))
        stack.callback(reaper.cancel)
        self._doing("starting the TypeScript service and the Elixir node")
        self._start_typescript(stack)
        self._look_at_terminal()
        await self._start_workers(stack, listener, registry.names())
        self._write_run_file(stack, lock)
        findings = await self._probe(registry)
        self._doing("")
        self._show(findings, check)
        if check:
            return int(bool(left_out) or any(finding.error for finding in findings))
        return await asyncio.Future()  # until cancelled

    async def _until_lost(self, lock: Lock) -> None:
        """Wait until the directory is ours no more: what is acknowledged then has no place."""
        while not lock.lost():  # noqa: ASYNC110 - nobody sets an event
            await asyncio.sleep(LOOK_AT_DIRECTORY_S)

    async def _leave_out(self, registry: Registry) -> None:
        """Leave out what cannot be served, and nothing else."""
        env = environment.shared(os.environ, self._settings)
        served = of_settings(self._settings, registry.names())
        self._left_out += await yours.not_importable(self._settings, served, env)
        builds.leave_out(self._settings, self._left_out)

    def tell_that_it_stops(self) -> None:
        self._say("stopping when every message in flight is answered; Ctrl-C again: at once")

    def kill(self) -> None:
        """Send SIGKILL to every child but Redis, which has to write what it was given."""
        if self._typescript is not None:
            self._typescript.kill()
        if self._workers is not None:
            self._workers.kill()

    def _take_directory(self, stack: AsyncExitStack) -> Lock:
        self._directory.mkdir(parents=True, exist_ok=True)
        lock = Lock(self._directory)
        stack.callback(lock.close)
        remove_leftovers(self._directory)
        sockets = sockets_directory()
        stack.callback(shutil.rmtree, sockets, ignore_errors=True)
        self._given = replace(
            self._given,
            listener=self._given.listener or str(sockets / "listener"),
            link_dir=self._given.link_dir or str(sockets / "link"),
        )
        remove_dead_sockets(Path(self._given.link_dir))
        return lock

    async def _start_redis(self, stack: AsyncExitStack) -> None:
        if self._settings.redis_url:
            warning = await check_configured(self._settings, self._say)
        else:
            data = self._directory / "redis"
            binary = find_binary(data=data)
            if binary is None:
                raise StartFailed(HOW_TO_GET)
            server = self._redis = RedisServer(
                data,
                self._logs / "redis.log",
                binary=binary,
                appendfsync=self._settings.appendfsync,
                changed=self._tell,
                say=self._say,
            )
            stack.push_async_callback(server.stop)
            await server.start()
            if server.adopted_pid is not None:
                self._say(f"redis: took over pid {server.adopted_pid} of an earlier run")
            self._settings = replace(self._settings, redis_url=server.url)
            warning = server.warning
        if warning:
            self._say(f"redis: {warning}")

    def _reload(self, subsystem: str) -> AsyncIterator[str]:
        node = self._workers.node if self._workers else None
        there: dict[RuntimeName, Child | None] = {"typescript": self._typescript, "elixir": node}
        children = {name: child for name, child in there.items() if child is not None}
        hot = self._workers.reload_node if self._workers and node else None
        return reload(subsystem, self._given, self._settings, children, self._url(), hot)

    async def _look_at_storage(self, stack: AsyncExitStack, lock: Lock) -> None:
        watch = StorageWatch(
            self._directory,
            self._settings.redis_url,
            self._say,
            ours=lambda: not lock.lost(),
        )
        stack.push_async_callback(watch.close)
        try:
            await watch.start(cut=self._redis is not None and self._redis.cut)
        except BridgeError as error:
            raise StartFailed(error.message) from None

    async def _look_at_states(self, registry: Registry) -> None:
        """Say which live states the contracts would migrate, or cannot serve."""
        try:
            found = await look_at(self._settings.redis_url, registry)
        except BridgeError as error:
            raise StartFailed(error.message) from None
        for live in found:
            if live.problem:
                how = f"`bridge contracts check --live {live.subsystem}` names more"
                self._say(f"{live.subsystem}@{live.version}: {live.problem}; {how}")
            elif live.migrates:
                self._say(f"{live.subsystem}@{live.version}: {live}")

    def _listen(self, stack: AsyncExitStack) -> Listener:
        wanted = self._settings.port
        listening = listen(self._settings.host, wanted, asked=self._port_asked)
        port = listening.getsockname()[1]
        if wanted not in (0, port):
            self._say(f"port {wanted} is taken: using {port}")
        self._settings = replace(self._settings, port=port)
        listener = Listener(
            listening,
            Path(self._settings.listener),
            changed=lambda: gateway.told(),
            requests={"reload": self._reload, "gateway": lambda asked: gateway.route(asked)},
        )
        gateway = Gateway(self._directory, listener)
        stack.push_async_callback(listener.close)
        listener.open()
        stack.callback(asyncio.create_task(gateway.run()).cancel)
        self._listening = listening.fileno()
        return listener

    def _start_typescript(self, stack: AsyncExitStack) -> None:
        found = self._find("typescript")
        if found is not None:
            env = {"BRIDGE_PARENT_STDIN": "1"}
            child = Child(self._program("typescript", found, env), changed=self._tell)
            self._typescript = child
            stack.push_async_callback(child.stop, MARGIN_S)
            child.start()

    async def _start_workers(
        self, stack: AsyncExitStack, listener: Listener, names: Sequence[str]
    ) -> None:
        node = await self._node(names)
        worker = self._program("worker", Command(programs.worker(), Path.cwd()), {})
        os.close(open_log(worker.log))  # the node's workers open it by themselves
        self._workers = Workers(
            listener,
            worker,
            self._settings.workers,
            node,
            self._settings.silent_ms / 1000,
            changed=self._tell,
        )
        stack.push_async_callback(self._stop_workers)
        self._workers.start()

    async def _node(self, names: Sequence[str]) -> Program | None:
        """Return the node to start: compiled, and with its web part where that can be."""
        found = self._find("elixir")
        if found is None:
            return None
        env, log = environment.shared(os.environ, self._settings), self._logs / "node.log"
        web = await node_with_web(env, log) if self._settings.phoenix_port else None
        if isinstance(web, Command):
            found = web
            self._give_port_to_web()
        else:
            self._without_web = web
            if (failed := await programs.compiled(found, env, log)) is not None:
                self._missing["elixir"] = failed
                return None
        program = self._program("node", found, environment.of_node(self._settings, names))
        if not self._phoenix_url:
            return program
        # It accepts at the gateway's address when it is told to.
        env = {**program.env, LISTEN_FD: str(self._listening)}
        return replace(program, env=env, pass_fds=(self._listening,))

    def _give_port_to_web(self) -> None:
        wanted, port = self._settings.phoenix_port, port_for_web(self._settings)
        if port != wanted:
            self._say(f"port {wanted} is taken: the Phoenix edge uses {port}")
        self._settings = replace(self._settings, phoenix_port=port)
        self._phoenix_url = url_of(self._settings.host, port)

    async def _stop_workers(self) -> None:
        assert self._workers is not None
        killed = await self._workers.stop(self._settings.drain_ms / 1000 + MARGIN_S)
        if killed:
            self._say(f"killed, as they do not leave by themselves: {', '.join(killed)}")

    def _find(self, runtime: RuntimeName) -> Command | None:
        """Return how to start a runtime; None if it is missing or somebody else starts it."""
        name = "node" if runtime == "elixir" else runtime
        setting = getattr(self._settings, name)
        if setting == "external":
            return None
        find = programs.elixir if runtime == "elixir" else programs.typescript
        found = (
            find(programs.search_path())
            if setting != "off"
            else Missing(f"switched off by {PREFIX}{name.upper()}=off")
        )
        if isinstance(found, Missing):
            self._missing[runtime] = found
            return None
        return found

    def _program(self, name: str, command: Command, env: dict[str, str]) -> Program:
        return Program(
            name=name,
            argv=command.argv,
            cwd=command.cwd,
            log=self._logs / f"{name}.log",
            env=environment.shared(os.environ, self._settings) | env,
            watches_stdin="BRIDGE_PARENT_STDIN" in env,
        )

    def _write_run_file(self, stack: AsyncExitStack, lock: Lock) -> None:
        run = RunFile(
            pid=os.getpid(),
            url=self._url(),
            redis_url=self._settings.redis_url,
            link_dir=self._settings.link_dir,
            listener=self._settings.listener,
            joelclaw_redis_url=self._settings.joelclaw_redis_url,
            phoenix_url=self._phoenix_url,
        )
        stack.callback(self._remove_run_file, lock)
        run.write(self._directory)

    def _remove_run_file(self, lock: Lock) -> None:
        if not lock.lost():  # or it would be another's
            (self._directory / "run.json").unlink(missing_ok=True)

    def _url(self) -> str:
        return url_of(self._settings.host, self._settings.port)

    def _look_at_terminal(self) -> None:
        port = self._settings.terminal_port
        if port and port_taken(self._settings):
            self._say(
                f"port {port} is taken, by joelclaw's own daemon perhaps: the terminal is served"
                " once it is free"
            )

    def _terminal_url(self) -> str:
        url = url_of(self._settings.host, self._settings.terminal_port)
        return url.replace("http://", "ws://")

    async def _probe(self, registry: Registry) -> list[Finding]:
        assert self._workers is not None
        self._doing("waiting for a gateway worker")
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not self._workers.ready():
            if time.monotonic() > deadline:
                raise StartFailed(
                    f"no gateway worker became ready within {READY_TIMEOUT_S:g} s: see the log"
                    f" files in {self._logs}"
                )
            await asyncio.sleep(0.02)
        there = [name for name in RUNTIMES if name not in self._missing]
        url, settings = self._url(), self._settings
        self._doing(f"waiting for an answer from {', '.join(there)}")
        return [
            *await probe(url, settings.token, there, PROBE_TIMEOUT_S),
            *await self._probe_web(),
            *await yours.look(settings, registry, url, there),
        ]

    async def _probe_web(self) -> list[Finding]:
        if not self._phoenix_url:
            return []
        token = self._settings.token
        return [await probe_edge(self._phoenix_url, token, "phoenix", PROBE_TIMEOUT_S)]

    def _show(self, findings: list[Finding], check: bool) -> None:
        rows: list[tuple[str, str, str | float | None, str]] = [
            (
                f.runtime,
                f.subsystem,
                f.round_trip_ms and f"{f.round_trip_ms:.1f} ms",
                f"{f.error} (logs: {self._logs})" if f.error else "ok",
            )
            for f in findings
        ]
        rows += [(name, "", None, why.reason) for name, why in self._missing.items()]
        if self._without_web is not None:
            rows.append(("phoenix", "", None, self._without_web.reason))
        rows += [("-", "", None, f"left out: {fault}") for fault in self._left_out]
        self._say(table(("runtime", "subsystem", "round trip", "state"), rows, painted))
        if self._settings.terminal_port:
            self._say(f"terminal {self._terminal_url()} ({self._settings.terminal})")
        if self._phoenix_url:
            self._say(f"phoenix {self._phoenix_url} (WebSocket: /socket/websocket)")
        kept = f"data and logs in {self._directory}"
        self._say(
            f"checked {self._url()}: stopping; {kept}"
            if check
            else f"serving {self._url()} (WebSocket: /socket/websocket), {kept}, Ctrl-C stops"
        )

    def _children(self) -> list[Child]:
        some = [self._redis.child if self._redis else None, self._typescript]
        workers = self._workers.children if self._workers else []
        return [child for child in some if child is not None] + workers

    def _pids(self) -> set[int]:
        return {child.pid for child in self._children() if child.pid is not None}

    def _tell(self) -> None:
        """Say so when a child was started again."""
        for child in self._children():
            name = child.program.name
            if child.restarts > self._restarts.get(name, 0):
                why = ""
                if self._redis is not None and child is self._redis.child:
                    why = f": {self._redis.last_words()}"
                self._say(
                    f"{name} {child.last_end}{why}, started again (log: {child.program.log})"
                )
            self._restarts[name] = child.restarts
