"""`bridge up` as a process of its own, and what it left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from bridge.client import ErrorReply
from bridge.contracts.files import ROOT
from tests.deadline import DEADLINE_S

SUBSYSTEMS = ROOT / "tests" / "subsystems"
ALONE = {"BRIDGE_NODE": "off", "BRIDGE_TYPESCRIPT": "off"}


def environment(directory: Path, **changes: str) -> dict[str, str]:
    """Return our environment with no setting but the directory and these."""
    env = {name: text for name, text in os.environ.items() if not name.startswith("BRIDGE_")}
    return {**env, "PYTHONPATH": str(ROOT), "BRIDGE_DIR": str(directory), **changes}


def bridge(
    directory: Path, *arguments: str, stdin: str = "", **changes: str
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "bridge", *arguments],
        env=environment(directory, **changes),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=8 * DEADLINE_S,
        check=False,
    )


def lives(pid: int) -> bool:
    """Say whether a process runs; a zombie does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return os.path.isdir("/proc/self") is False  # no /proc on macOS: kill's word stands


async def answered(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Ask as clients do: again, while the answer is an error that is retryable."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                return await ask()
            except ErrorReply as error:
                if not error.response["retryable"]:
                    raise
                await asyncio.sleep(0.05)


class Up:
    """A running `bridge up`; ready when the constructor returns."""

    def __init__(self, directory: Path, *arguments: str, **changes: str) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._output = directory / "up.out"
        with open(self._output, "w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bridge", "up", "--port", "0", *arguments],
                env=environment(directory, **changes),
                stdout=output,
                stderr=output,
            )
        deadline = time.monotonic() + 8 * DEADLINE_S
        while "\nserving " not in self.output:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"bridge up did not serve:\n{self.output}")
            time.sleep(0.02)

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def run(self) -> dict[str, Any]:
        """Return what is in run.json."""
        found: dict[str, Any] = json.loads((self.directory / "run.json").read_text())
        return found

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(8 * DEADLINE_S)

    def children(self) -> dict[int, str]:
        """Return the processes that were started for this directory, but for `up` itself."""
        found = processes_of(self.directory)
        found.pop(self.process.pid, None)
        return found

    def __enter__(self) -> Up:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.end()
        for pid in processes_of(self.directory):
            os.kill(pid, signal.SIGKILL)


def processes_of(directory: Path) -> dict[int, str]:
    """Return the processes whose environment or command line names a directory.

    Redis writes its title over both, so its pid file is asked.
    """
    kept = directory / "redis" / "server.pid"
    redis = kept.read_text().strip() if kept.exists() else ""
    found = {}
    for pid, text in _processes():
        if str(directory) in text or (str(pid) == redis and "redis-server" in text):
            found[pid] = text
    found.pop(os.getpid(), None)
    return found


def _processes() -> Iterator[tuple[int, str]]:
    """Yield every process that runs, with its command line and environment."""
    if sys.platform == "linux":
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # gone, or another user's
                text = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
                if text:  # a zombie has none
                    yield int(folder.name), text.replace(b"\0", b" ").decode(errors="replace")
        return
    listing = subprocess.run(
        ["ps", "axeww", "-o", "pid=,command="],
        env={"PATH": os.defpath},
        capture_output=True,
        text=True,
        check=True,
    )
    for line in listing.stdout.splitlines():
        pid, _, text = line.strip().partition(" ")
        yield int(pid), text
