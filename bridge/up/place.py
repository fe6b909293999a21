"""The directory of one bridge: its lock, its run file, its log files, its sockets."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from bridge.errors import Unable

MAX_SOCKET_PATH_BYTES = 100  # 104 on macOS, 108 on Linux, each with its final zero byte
MAX_LOG_BYTES = 5_000_000
SOCKETS_PREFIX = "bridge-"


class NotRunning(Unable):
    """No `bridge up` serves this directory; the text says what to do."""


class StartFailed(Unable):
    """The bridge cannot start; the text says why and what to do."""


class AlreadyRunning(StartFailed):
    """Another `bridge up` holds this directory; the text names its pid."""


@dataclass(frozen=True, slots=True)
class RunFile:
    """Where a running bridge is to be found: `<directory>/run.json`."""

    pid: int
    url: str  # http://host:port
    redis_url: str
    link_dir: str
    listener: str
    joelclaw_redis_url: str = ""
    phoenix_url: str = ""  # http://host:port of the Phoenix edge; empty: none

    @classmethod
    def read(cls, directory: Path) -> RunFile:
        """Read the run file; raise NotRunning if there is none or its `bridge up` is gone."""
        path = directory / "run.json"
        try:
            run = cls(**json.loads(path.read_text()))
        except FileNotFoundError:
            raise NotRunning(
                f"no bridge runs in {directory}: start it with `bridge up`, or name another"
                " directory by BRIDGE_DIR"
            ) from None
        except (OSError, ValueError, TypeError) as error:
            raise NotRunning(f"{path} is unreadable ({error}): start `bridge up` again") from None
        if not Lock.held(directory):
            raise NotRunning(
                f"{path} was left behind by pid {run.pid}, which is gone: start `bridge up` again"
            )
        return run

    def stopped(self) -> str:
        """Say what to do about a `bridge up` that is frozen; '' if it runs."""
        return stopped(self.pid)

    def write(self, directory: Path) -> None:
        """Write the run file in one step: a reader sees all of it or none."""
        fresh = directory / "run.json.new"
        fresh.write_text(json.dumps(asdict(self), indent=2) + "\n")
        fresh.chmod(0o600)  # redis_url may hold a password
        fresh.replace(directory / "run.json")


class Lock:
    """One `bridge up` per directory; the kernel ends the lock with its holder."""

    def __init__(self, directory: Path) -> None:
        """Take the lock; raises AlreadyRunning with the pid of whoever has it."""
        self._directory = directory
        self._file = open(directory / "up.lock", "a+")  # noqa: SIM115 - held until close()
        if not _flock(self._file):
            self._file.seek(0)
            pid = self._file.read().strip() or "unknown"
            self._file.close()
            how = stopped(int(pid)) if pid.isdecimal() else ""
            raise AlreadyRunning(
                f"a bridge runs in {directory} already, as pid {pid}: stop it with `kill {pid}`,"
                f" or name another directory by BRIDGE_DIR{how and f'; {how}'}"
            )
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def lost(self) -> str:
        """Say how the directory came to be another's than the one locked; empty: it did not."""
        ours = os.fstat(self._file.fileno())
        try:
            there = (self._directory / "up.lock").stat()
        except OSError:
            return "was removed"
        return "" if os.path.samestat(ours, there) else "was replaced by another"

    @staticmethod
    def held(directory: Path) -> bool:
        """Say whether a `bridge up` holds the directory now."""
        try:
            with open(directory / "up.lock") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False


def stopped(pid: int) -> str:
    """Say what to do about a `bridge up` that a signal or Ctrl-Z froze; '' if it runs."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        if Path("/proc/self").exists():
            return ""
        import subprocess  # macOS

        asked = ["ps", "-o", "state=", "-p", str(pid)]
        state = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    if state[:1].upper() != "T":
        return ""
    return (
        f"`bridge up` (pid {pid}) is frozen by SIGSTOP or Ctrl-Z, and starts nothing again that"
        f" ends: `kill -CONT {pid}`, or `fg` in its terminal, lets it go on"
    )


def _flock(file: TextIO) -> bool:
    """Take the lock; a reader's `held` may have it for an instant, so try more than once."""
    for _ in range(10):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(0.01)
        else:
            return True
    return False


def sockets_directory() -> Path:
    """Make a directory of our own for Unix sockets, its path short enough for any system."""
    import tempfile  # not for each `bridge call`, which only reads the run file

    room = MAX_SOCKET_PATH_BYTES - len("/link/" + "x" * 40)
    for parent in (None, "/tmp"):
        made = Path(tempfile.mkdtemp(prefix=SOCKETS_PREFIX, dir=parent))
        if len(os.fsencode(made)) <= room:
            return made
        made.rmdir()
    raise StartFailed(f"no temporary directory with a path of at most {room} bytes: set TMPDIR")


def remove_leftovers(directory: Path) -> None:
    """Remove what a killed `bridge up` left behind: run file and sockets. Hold the lock first."""
    path = directory / "run.json"
    try:
        sockets = Path(json.loads(path.read_text())["listener"]).parent
    except (OSError, ValueError, TypeError, KeyError):
        return
    if sockets.name.startswith(SOCKETS_PREFIX):
        import shutil

        shutil.rmtree(sockets, ignore_errors=True)
    path.unlink(missing_ok=True)


def remove_dead_sockets(link_dir: Path) -> None:
    """Make the directory of link sockets; remove those of workers that were killed."""
    link_dir.mkdir(parents=True, exist_ok=True)
    for path in link_dir.glob("*.sock"):
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(os.fspath(path))
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
            except OSError:
                continue  # no socket of ours, or one that is going away


def open_log(path: Path) -> int:
    """Open a log file to append to, moving it to `<name>.1` first if it has grown large."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > MAX_LOG_BYTES:
        path.replace(path.with_name(path.name + ".1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
