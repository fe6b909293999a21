"""The runtimes of this machine by themselves, without a gateway, for as long as a check takes."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from bridge.contracts.files import BUILT_IN, contract_folders
from bridge.contracts.implementations import (
    LeftOut,
    folder_of,
    of_settings,
    python_handlers,
)
from bridge.contracts.registry import Registry
from bridge.errors import ContractBroken
from bridge.link.session import SessionLimits
from bridge.message import RUNTIMES
from bridge.runtimes.elixir import ElixirRuntime
from bridge.runtimes.node_links import NodeLinks
from bridge.runtimes.python import PythonRuntime
from bridge.runtimes.runtime import Runtime
from bridge.runtimes.typescript import TypeScriptRuntime
from bridge.settings import Settings
from bridge.telemetry import Telemetry
from bridge.up import environment, programs
from bridge.up.place import sockets_directory
from bridge.up.programs import Command, Missing
from bridge.up.redis_server import HOW_TO_GET, RedisServer, find_binary
from bridge.up.supervisor import Child, Program
from bridge.up.yours import said_of

START_TIMEOUT_S = 20.0
SETTLED_S = 2.0
STOP_TIMEOUT_S = 3.0
NAME = "contracts-check"


@dataclass(slots=True)
class Present:
    """What can be asked here, and why the rest cannot."""

    runtimes: dict[str, Runtime] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)  # it is here, and did not start
    unserved: dict[tuple[str, str], str] = field(default_factory=dict)  # runtime and subsystem
    children: dict[str, Child] = field(default_factory=dict)  # the processes of those outside


@asynccontextmanager
async def present(
    settings: Settings,
    registry: Registry,
    wanted: Collection[str] = RUNTIMES,
    doing: Callable[[str], None] = lambda what: None,
) -> AsyncIterator[Present]:
    """Start what is here, and end it when the caller is done; no running bridge is touched.

    Of `typescript` and `elixir` only what is `wanted`.
    """
    left_out: LeftOut = []
    with suppress(ContractBroken):  # the caller has told of it
        Registry.load(*contract_folders(settings), left_out=left_out)
    told = len(left_out)
    implementations = of_settings(settings, registry.names(), left_out)
    handlers = python_handlers(implementations, *folder_of(settings), left_out=left_out)
    found = Present({"python": PythonRuntime(handlers, settings.python_budget_ms)})
    for fault in left_out[told:]:
        subsystem, _, where = fault.pointer.removeprefix("/").partition("/")
        found.unserved[where or "python", subsystem] = str(fault)
    async with AsyncExitStack() as stack:
        folder = sockets_directory()
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        alone = replace(
            environment.absolute(settings), dir=str(folder), link_dir=str(folder), redis_url=""
        )
        doing(f"starting {', '.join(wanted)}")
        if "typescript" in wanted:
            await _typescript(stack, alone, registry, found)
        if "elixir" in wanted:
            await _elixir(stack, alone, registry, found)
        built_in = Registry.load(BUILT_IN).names()
        deadline = time.monotonic() + START_TIMEOUT_S
        for name, runtime in list(found.runtimes.items()):
            # The built-in ones are compiled into service and node.
            needed = [s for s, by in implementations.items() if name in by or s in built_in]
            known = [s for s in needed if s in registry.names()]
            absent = await _absent(runtime, known, deadline)
            log = folder / f"{name}.log"
            if absent and len(absent) == len(known):
                del found.runtimes[name]
                found.failed[name] = f"did not start:\n{_last_lines(log)}"
            for subsystem in absent if name in found.runtimes else ():
                where = implementations.get(subsystem, {}).get(name, "")
                why = where and said_of(log, where)
                found.unserved[name, subsystem] = why or _last_lines(log)
        yield found
        doing("stopping what was started")


async def _typescript(
    stack: AsyncExitStack, settings: Settings, registry: Registry, found: Present
) -> None:
    command = programs.typescript(programs.search_path())
    binary = find_binary()
    if isinstance(command, Missing) or binary is None:
        found.missing["typescript"] = (
            command.reason if isinstance(command, Missing) else HOW_TO_GET
        )
        return
    folder = Path(settings.dir)
    server = RedisServer(
        folder / "redis", folder / "redis.log", binary=binary, appendfsync="always"
    )
    stack.push_async_callback(server.stop)
    await server.start()
    runtime = TypeScriptRuntime(server.url, NAME, registry.digests())
    stack.push_async_callback(runtime.close)
    await runtime.start()
    served = replace(settings, redis_url=server.url)
    found.children["typescript"] = _start(stack, "typescript", command, served, {})
    found.runtimes["typescript"] = runtime


async def _elixir(
    stack: AsyncExitStack, settings: Settings, registry: Registry, found: Present
) -> None:
    command = programs.elixir(programs.search_path())
    env = environment.of_node(settings, registry.names()) | {"BRIDGE_NODE_WORKERS": "0"}
    if isinstance(command, Command):
        shared = environment.shared(os.environ, settings)
        log = Path(settings.dir) / "elixir.log"
        command = await programs.compiled(command, shared, log) or command
    if isinstance(command, Missing):
        found.missing["elixir"] = command.reason
        return
    runtime = ElixirRuntime()
    links = NodeLinks(
        NAME,
        runtime,
        registry.digests(),
        Path(settings.link_dir) / "check.sock",
        SessionLimits(),
        Telemetry(),
        lambda why: None,
    )
    stack.push_async_callback(links.close)
    links.admit()
    links.open_socket()
    found.children["elixir"] = _start(stack, "elixir", command, settings, env)
    found.runtimes["elixir"] = runtime


def _start(
    stack: AsyncExitStack, name: str, command: Command, settings: Settings, env: dict[str, str]
) -> Child:
    child = Child(
        Program(
            name,
            command.argv,
            cwd=command.cwd,
            log=Path(settings.dir) / f"{name}.log",
            env=environment.shared(os.environ, settings) | env | {"BRIDGE_PARENT_STDIN": "1"},
            watches_stdin=True,
        )
    )
    stack.push_async_callback(child.stop, STOP_TIMEOUT_S)
    child.start()
    return child


async def _absent(runtime: Runtime, subsystems: list[str], deadline: float) -> list[str]:
    """Wait until all are served; what is still missing soon after the first one stays so."""
    while absent := [name for name in subsystems if not runtime.available(name)]:
        if len(absent) < len(subsystems):
            deadline = min(deadline, time.monotonic() + SETTLED_S)
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.05)
    return absent


def _last_lines(log: Path) -> str:
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-5:])
    except OSError:
        return "(no output)"
