"""The Phoenix edge, the workers' own, and a bare Phoenix channel with one call to a port."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bridge.bench.figures import Figure, compare
from bridge.bench.processes import (
    SUBSYSTEMS,
    CannotMeasure,
    Load,
    allow_descriptors,
    free_port,
    load,
    process,
    redis,
    rss_bytes,
    worker,
)
from bridge.message import JSON
from bridge.settings import PREFIX
from bridge.up import programs
from bridge.up.admin import fetch, put, served_by
from bridge.up.programs import Command, Missing

TURNS = 3
TURN_S = 1.0
CONNECTIONS, WINDOW = 8, 16
SUBSCRIBERS = 10_000
SENT_ON = 5_000
WITHIN_S = 60.0
IDLE_MS = "600000"  # nobody sends heartbeats
BARE = Path(__file__).with_name("bare.exs")
IMPLEMENTATION = SUBSYSTEMS / "bench" / "bench.ex"
PATH = "/socket/websocket?vsn=2.0.0"


async def edges() -> list[Figure]:
    """Measure both edges of one gateway: a query that Elixir answers, one event to many."""
    allow_descriptors(SUBSCRIBERS + 1_000)
    command = await _web()
    with tempfile.TemporaryDirectory(prefix="b-") as folder:
        async with (
            redis() as redis_url,
            worker(redis_url, link_dir=folder, idle_timeout_ms=IDLE_MS) as (python_url, pid),
            _node(command, Path(folder)) as (phoenix_url, node_pid),
            _bare(command) as bare_url,
        ):
            address = python_url.replace("ws://", "http://").partition("/socket")[0]
            await _owned_by_elixir(address)
            figures = await _queries(python_url, phoenix_url, bare_url)
            figures += await _fanout(python_url, pid, phoenix_url, node_pid)
            return [*figures, await _sent_on(phoenix_url, node_pid)]


async def _queries(python_url: str, phoenix_url: str, bare_url: str) -> list[Figure]:
    turns: dict[str, list[tuple[float, float]]] = {}
    async with load() as on_phoenix, load() as on_python, load() as on_bare:
        subjects = ((on_phoenix, phoenix_url), (on_python, python_url), (on_bare, bare_url))
        for window, what in ((1, "one client, p50"), (WINDOW, f"{CONNECTIONS} connections")):
            for client, url in subjects:
                for n in range(1 if window == 1 else CONNECTIONS):
                    await _open(client, url, 1, window, f"key-{n}")
            for n in range(TURNS + 1):
                found = [await _measured(client, window) for client, _ in subjects]
                if n:  # the first is to warm up
                    turns.setdefault(f"{what}, Phoenix edge", []).append((found[0], found[2]))
                    turns.setdefault(f"{what}, Python edge", []).append((found[1], found[2]))
            for client, _ in subjects:
                await client.ask(close=True)
    goals = {"one client, p50, Phoenix edge": "at most 1.25"}
    return [
        compare(
            f"query that Elixir owns, {name}",
            pairs,
            "µs" if "p50" in name else "/s",
            goals.get(name, "-"),
        )
        for name, pairs in turns.items()
    ]


async def _measured(client: Load, window: int) -> float:
    if window == 1:
        return float((await client.ask(time=TURN_S, every=0))["p50"]) * 1e6
    return float((await client.ask(run=TURN_S))["rate"])


async def _fanout(
    python_url: str, python_pid: int, phoenix_url: str, node_pid: int
) -> list[Figure]:
    """Measure memory per connection, and one event to all of them, on each edge in turn."""
    took, memory = {}, {}
    for name, url, pid in (
        ("python", python_url, python_pid),
        ("phoenix", phoenix_url, node_pid),
    ):
        async with load() as subscribers, load() as writer:
            await _open(subscribers, url, 100, 1)
            before = await asyncio.to_thread(rss_bytes, pid)
            await _open(subscribers, url, SUBSCRIBERS - 100, 1)
            grown = await asyncio.to_thread(rss_bytes, pid) - before
            memory[name] = grown / (SUBSCRIBERS - 100)
            await _open(writer, python_url, 1, 1, "one", "burst", {"events": 1})
            expected = asyncio.create_task(subscribers.ask(expect=SUBSCRIBERS, within=WITHIN_S))
            begun = time.perf_counter()
            await writer.ask(time=0.001, every=0)
            told = await expected
            took[name] = time.perf_counter() - begun
            if not told["all"]:
                raise CannotMeasure(
                    f"{name}: not all of {SUBSCRIBERS:,} subscribers got the event"
                )
    return [
        Figure(
            f"one event to {SUBSCRIBERS:,} subscribers, the last; Phoenix edge, peer Python edge",
            f"{took['phoenix'] * 1000:,.0f} ms",
            f"{took['python'] * 1000:,.0f} ms",
            took["phoenix"] / took["python"],
            "nobody missed",
        ),
        Figure(
            f"memory per idle connection, of {SUBSCRIBERS:,}; Phoenix edge, peer Python edge",
            f"{memory['phoenix'] / 1000:.1f} kB",
            f"{memory['python'] / 1000:.1f} kB",
            memory["phoenix"] / memory["python"],
            "-",
        ),
    ]


async def _sent_on(phoenix_url: str, node_pid: int) -> Figure:
    """Measure how long a node that stops takes to send all its clients on."""
    async with load() as clients:
        await _open(clients, phoenix_url, SENT_ON, 1)
        begun = time.perf_counter()
        os.kill(node_pid, signal.SIGTERM)
        gone = await clients.ask(gone=SENT_ON, within=WITHIN_S)
        took = time.perf_counter() - begun
        if gone["codes"] != {"1012": SENT_ON}:
            raise CannotMeasure(f"not all clients were sent on by 1012: {gone['codes']}")
    return Figure(f"{SENT_ON:,} clients sent on by a node", f"{took:.1f} s", "", None, "30 s")


async def _open(
    clients: Load,
    url: str,
    count: int,
    window: int,
    key: str = "one",
    operation: str = "read",
    request: JSON = None,
) -> None:
    frames: list[JSON] = [
        ["1", "1", f"bench:{key}", "phx_join", {}],
        ["1", "2", f"bench:{key}", operation, request or {}],
    ]
    hello, push = (json.dumps(frame, separators=(",", ":")) for frame in frames)
    await clients.ask(
        open={"url": url, "count": count, "hello": [hello], "frames": [push], "window": window}
    )


async def _web() -> Command:
    """Return how to run Elixir with the node's web part, compiled; raises CannotMeasure."""
    path = programs.search_path()
    missing = await asyncio.to_thread(programs.web, path)
    command = missing or programs.elixir(path, web=True)
    if not isinstance(command, Missing):
        with tempfile.NamedTemporaryFile() as log:
            failed = await programs.compiled(command, os.environ, Path(log.name))
        command = failed or command
    if isinstance(command, Missing):
        raise CannotMeasure(command.reason)
    return command


@asynccontextmanager
async def _node(command: Command, link_dir: Path) -> AsyncIterator[tuple[str, int]]:
    """Run a node that connects to the worker in `link_dir`; yield its WebSocket URL and pid."""
    port = free_port()
    own = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    settings = {
        "link_dir": str(link_dir),
        "phoenix_port": str(port),
        "contracts": str(SUBSYSTEMS),
        "idle_timeout_ms": IDLE_MS,
        "elixir_implementations": f"bench={IMPLEMENTATION}",
    }
    env = own | {PREFIX + name.upper(): value for name, value in settings.items()}
    async with process(command.argv, env, port, command.cwd) as pid:
        yield f"ws://127.0.0.1:{port}{PATH}", pid


@asynccontextmanager
async def _bare(command: Command) -> AsyncIterator[str]:
    port = free_port()
    argv = (*command.argv[:-2], str(BARE), str(port), sys.executable)
    async with process(argv, os.environ, port, command.cwd):
        yield f"ws://127.0.0.1:{port}{PATH}"


async def _owned_by_elixir(address: str) -> None:
    """Route the subsystem to Elixir, once the node is linked and serves it."""
    deadline = time.monotonic() + WITHIN_S
    while "bench" not in (served_by(await _status(address), "elixir") or ()):
        if time.monotonic() > deadline:
            raise CannotMeasure("the node does not serve the subsystem")
        await asyncio.sleep(0.1)
    await asyncio.to_thread(put, f"{address}/admin/routes/bench", "", {"owner": "elixir"})


async def _status(address: str) -> JSON:
    return await asyncio.to_thread(fetch, f"{address}/admin/status")
