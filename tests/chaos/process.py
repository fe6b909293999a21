"""A real `bridge up`, and the processes beneath it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from bridge.message import RuntimeName
from bridge.up import programs
from bridge.up.programs import Missing
from tests.deadline import DEADLINE_S
from tests.redis_server import free_port

ROOT = Path(__file__).resolve().parents[2]
START_S = 4 * DEADLINE_S  # the first start may compile the Elixir node

# What a process's command line contains, by the name used here.
KINDS = {"worker": "bridge.gateway", "beam": "beam.smp", "typescript": "dist/main.js"}


class BridgeProcess:
    """Run `python -m bridge up` in a directory of its own, on a free port.

    It inherits nothing that configures a bridge; `settings` are its BRIDGE_ variables, without
    the prefix and in small letters.
    """

    def __init__(self, *, extra_env: Mapping[str, str] | None = None, **settings: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="bridge-chaos-")
        self.directory = Path(self._folder.name)
        self.output: deque[str] = deque(maxlen=400)
        own = {
            name: value for name, value in os.environ.items() if not name.startswith("BRIDGE_")
        }
        wanted = {"dir": str(self.directory), "port": str(free_port()), **settings}
        self._env = {
            **own,
            **(extra_env or {}),
            **{f"BRIDGE_{name.upper()}": value for name, value in wanted.items()},
        }
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._serving = asyncio.Event()
        self._known: dict[int, str] = {}

    async def start(self) -> None:
        """Return when it serves; raises RuntimeError with its output if it does not."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-u",
            "-m",
            "bridge",
            "up",
            cwd=ROOT,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = asyncio.create_task(self._read())
        serving = asyncio.create_task(self._serving.wait())
        await asyncio.wait(
            [serving, self._reader], timeout=START_S, return_when=asyncio.FIRST_COMPLETED
        )
        serving.cancel()
        if not self._serving.is_set():
            await self.stop()
            raise RuntimeError("bridge up does not serve:\n" + "\n".join(self.output))

    @property
    def url(self) -> str:
        return str(self._run_file()["url"])

    @property
    def redis_url(self) -> str:
        return str(self._run_file()["redis_url"])

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def env(self) -> dict[str, str]:
        """Return what makes other commands of the CLI find this bridge."""
        return self._env

    async def stop(self) -> None:
        """Ask it to leave; after the deadline kill it and what is left beneath it."""
        assert self._process is not None
        self.processes()
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGINT)
        try:
            async with asyncio.timeout(2 * DEADLINE_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        if self._reader is not None:
            await asyncio.wait([self._reader], timeout=1)
            self._reader.cancel()

    def leftovers(self) -> dict[int, str]:
        """Return the processes that outlived it, and kill them."""
        left = {pid: kind for pid, kind in self._known.items() if pid in _table()}
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return left

    def close(self) -> None:
        self._folder.cleanup()

    def logs(self) -> str:
        """Return the end of its output and of each log file."""
        parts = ["\n".join(self.output)]
        for path in sorted((self.directory / "logs").glob("*.log")):
            parts.append(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}")
        return "\n".join(parts)

    def processes(self) -> dict[int, str]:
        """Return pid and kind (see KINDS) of what runs beneath it, orphans included.

        A worker whose node was killed hangs beneath somebody else; it is known by its pid.
        """
        table = _table()
        self._known = {
            pid: kind
            for pid, kind in self._known.items()
            if pid in table and KINDS[kind] in table[pid][1]
        }
        below = {self.pid}
        grown = True
        while grown:
            more = {pid for pid, (parent, _) in table.items() if parent in below} - below
            below |= more
            grown = bool(more)
        for pid in below - {self.pid}:
            for kind, mark in KINDS.items():
                if mark in table[pid][1]:
                    self._known[pid] = kind
        return dict(self._known)

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            text = line.decode(errors="replace").rstrip()
            self.output.append(text)
            if text.startswith("serving "):
                self._serving.set()

    def _run_file(self) -> dict[str, object]:
        found: dict[str, object] = json.loads((self.directory / "run.json").read_text())
        return found


def runtimes_here() -> list[RuntimeName]:
    """Return the runtimes that this machine can run, in the order of a tour of them."""
    path = programs.search_path()
    found: dict[RuntimeName, object] = {
        "python": None,
        "typescript": programs.typescript(path),
        "elixir": programs.elixir(path),
    }
    return [name for name, how in found.items() if not isinstance(how, Missing)]


def _table() -> dict[int, tuple[int, str]]:
    """Return parent and command line by pid, of every process but zombies."""
    if not Path("/proc/self/stat").exists():
        return _table_of_ps()
    table = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rpartition(") ")[2].split()[:2]
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, ValueError):
            continue  # it ended just now
        if state != "Z":
            table[int(folder.name)] = (int(parent), command)
    return table


def _table_of_ps() -> dict[int, tuple[int, str]]:
    done = subprocess.run(
        ["ps", "-axo", "pid=,ppid=,stat=,command="], capture_output=True, text=True, check=True
    )
    table = {}
    for line in done.stdout.splitlines():
        pid, parent, state, command = line.split(None, 3)
        if not state.startswith("Z"):
            table[int(pid)] = (int(parent), command)
    return table
