"""The Phoenix edge: a real node, linked to an edge that runs in the test as its worker."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bridge.edge.listener import bind
from bridge.link.session import SessionLimits
from bridge.runtimes.elixir import ElixirRuntime
from bridge.runtimes.node_links import NodeLinks
from bridge.telemetry import Telemetry
from bridge.up import programs
from tests.deadline import until
from tests.edge.rig import Rig, rig


@cache
def missing() -> str:
    """Say why there is no Phoenix edge here; empty where there is one, compiled."""
    path = programs.search_path()
    why = programs.web(path)
    if why is not None:
        return why.reason
    command = programs.elixir(path, web=True)
    assert isinstance(command, programs.Command)
    env = {**os.environ, **command.compile_env, "MIX_ENV": "prod"}
    done = subprocess.run(
        command.compile, cwd=command.cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return ""


def needs_phoenix() -> None:
    """Skip a test where there is no Phoenix edge, saying how to get it."""
    if why := missing():
        pytest.skip(why)


@dataclass
class Worker(Rig):
    """An edge that serves the node; `port` is the node's."""

    links: NodeLinks

    def die(self) -> None:
        """End the links as a killed process does: nothing that waits is answered."""
        if (listener := self.links._listener) is not None:
            listener.close()
        for link in list(self.links._links):
            link._transport.close()
            link.close("killed")

    async def mourned(self) -> None:
        """Wait until the node knows of no worker: what it is asked then it sends to nobody."""

        async def alone() -> bool:
            return (await self.http("GET", "/health"))[0] == 503

        await until(alone, "the node knows that its worker is gone")

    def follows(self) -> bool:
        """Say whether the node follows a topic here."""
        return bool(self.edge.figures()["node_topics"])


class PhoenixNode:
    """A node with its web part on a free port; its workers are who listens in `link_dir`."""

    def __init__(self, folder: Path, **settings: str) -> None:
        needs_phoenix()
        self.folder = folder
        self.link_dir = folder / "link"
        self.link_dir.mkdir(exist_ok=True)
        with bind("127.0.0.1", 0) as sock:
            self.port = sock.getsockname()[1]
        command = programs.elixir(programs.search_path(), web=True)
        assert isinstance(command, programs.Command)
        env = {name: text for name, text in os.environ.items() if not name.startswith("BRIDGE_")}
        env |= {
            "LC_ALL": "C.UTF-8",
            "BRIDGE_LINK_DIR": str(self.link_dir),
            "BRIDGE_PHOENIX_PORT": str(self.port),
            "BRIDGE_PARENT_STDIN": "1",
            **settings,
        }
        self.log = folder / "node.log"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                command.argv,
                cwd=command.cwd,
                env=env,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()

    async def listens(self) -> None:
        """Wait until the node listens."""

        async def listens() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                return False
            writer.close()
            return True

        await until(listens, f"port {self.port} is listened on")

    @contextlib.asynccontextmanager
    async def worker(self, name: str = "w", **given: Any) -> AsyncIterator[Worker]:
        """Serve an edge in this process, as one of the node's workers."""
        await self.listens()
        async with rig(**given) as r:
            links = NodeLinks(
                name,
                ElixirRuntime(),
                {},
                self.link_dir / f"{name}.sock",
                SessionLimits(),
                Telemetry(),
                lambda why: None,
            )
            links.open_socket()
            links.admit(r.edge.functions)
            try:
                worker = Worker(**{**vars(r), "port": self.port}, links=links)

                async def healthy() -> bool:
                    _, health = await worker.http("GET", "/health")
                    return name in health.get("workers", [])

                await until(healthy, "the node is linked")
                yield worker
            finally:
                await links.close()


@contextlib.contextmanager
def phoenix_node(**settings: str) -> Any:
    """Run a node until the block ends; pytest shows its log where a test fails."""
    with tempfile.TemporaryDirectory(prefix="b-") as folder:
        node = PhoenixNode(Path(folder), **settings)
        try:
            yield node
        finally:
            node.stop()
            print(node.log.read_text()[-8000:])
