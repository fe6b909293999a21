"""The processes that are measured: a Redis, a gateway worker, an echo, and the load."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bridge.settings import PREFIX
from bridge.up.programs import search_path
from bridge.up.redis_server import HOW_TO_GET, RedisServer, find_binary

START_S = 20.0
SUBSYSTEMS = Path(__file__).parent / "subsystems"


class CannotMeasure(Exception):
    """Something needed is missing or does not start; the text says what."""


@asynccontextmanager
async def redis(appendfsync: str = "always") -> AsyncIterator[str]:
    """Run a Redis of our own in a temporary directory; yield its URL."""
    binary = find_binary(search_path())
    if binary is None:
        raise CannotMeasure(HOW_TO_GET)
    with tempfile.TemporaryDirectory(prefix="bridge-bench-") as folder:
        server = RedisServer(
            Path(folder, "redis"),
            Path(folder, "redis.log"),
            binary=binary,
            appendfsync=appendfsync,
        )
        await server.start()
        try:
            yield server.url
        finally:
            await server.stop()


@asynccontextmanager
async def worker(redis_url: str, **changes: str) -> AsyncIterator[tuple[str, int]]:
    """Run one gateway worker by itself, with these settings too; yield WebSocket URL and pid."""
    port = free_port()
    own = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    settings = {
        "port": str(port),
        "redis_url": redis_url,
        "contracts": str(SUBSYSTEMS),
        "implementations": str(SUBSYSTEMS / "implementations.json"),
        **changes,
    }
    env = own | {PREFIX + name.upper(): value for name, value in settings.items()}
    async with process(_module("bridge.gateway"), env, port) as pid:
        yield f"ws://127.0.0.1:{port}/socket/websocket?vsn=2.0.0", pid


@asynccontextmanager
async def echo() -> AsyncIterator[tuple[str, int]]:
    """Run a bare uvicorn echo; yield its WebSocket URL and pid."""
    port = free_port()
    async with process((*_module("bridge.bench.echo"), str(port)), os.environ, port) as pid:
        yield f"ws://127.0.0.1:{port}/?", pid


class Load:
    """The client process; see `bridge.bench.load` for its commands."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, **command: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        line = await self._process.stdout.readline()
        if not line:
            raise CannotMeasure("the load process ended: see its error above")
        answer: dict[str, Any] = json.loads(line)
        return answer


@asynccontextmanager
async def load() -> AsyncIterator[Load]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bridge.bench.load", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield Load(process)
    finally:
        await _end(process)


def allow_descriptors(count: int) -> None:
    """Let this process, and those it starts from now on, open so many files and sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        if hard != resource.RLIM_INFINITY and hard < count:
            raise CannotMeasure(f"{count} open files are needed, `ulimit -Hn` allows {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def rss_bytes(pid: int) -> int:
    """Return a process's resident memory, on Linux and macOS alike."""
    done = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True
    )
    return int(done.stdout) * 1024


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _module(name: str) -> tuple[str, ...]:
    return (sys.executable, "-u", "-m", name)


@asynccontextmanager
async def process(
    argv: Sequence[str], env: Mapping[str, str], port: int, cwd: Path | None = None
) -> AsyncIterator[int]:
    """Run a program and yield its pid once it listens on a port. Raises CannotMeasure."""
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            *argv,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            deadline = time.monotonic() + START_S
            while not _accepts(port):
                if process.returncode is not None or time.monotonic() > deadline:
                    log.seek(0)
                    text = log.read().decode(errors="replace")[-1500:]
                    raise CannotMeasure(f"{' '.join(argv)} does not start:\n{text}")
                await asyncio.sleep(0.02)
            yield process.pid
        finally:
            await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
