"""Child processes that are kept alive, and ended for certain."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bridge.up.place import open_log

FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 1.5  # what nobody stands in for is back within 3 s
LOOK_S = 0.1
ALIVE_S = 5.0  # a child that lived so long starts from the first wait again


@dataclass(frozen=True, slots=True)
class Program:
    """How to start a child. Its output is appended to `log`.

    With `watches_stdin` it gets a pipe that reaches end of file when this process is gone.
    `pass_fds` are inherited as they are.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    log: Path
    cwd: Path | None = None
    watches_stdin: bool = False
    pass_fds: Sequence[int] = ()


class Child:
    """One program, restarted whenever it ends, until it is stopped."""

    def __init__(self, program: Program, *, changed: Callable[[], None] = lambda: None) -> None:
        """`changed` is called whenever the process was started or has ended."""
        self.program = program
        self.restarts = 0
        self.failures = 0  # ends in a row before ALIVE_S
        self.last_end = ""
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._input = -1  # our end of its standard input, if it watches that
        self._replaced = ""
        self._starts = self._ended = 0  # how many, the one under way included
        self._leaving = 0  # the start that a reload is to replace
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The running process, None between two."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep())

    async def stop(self, timeout_s: float) -> bool:
        """End it by SIGTERM, after `timeout_s` by SIGKILL; say whether SIGTERM was enough."""
        self.terminate()
        gentle = await self.wait(timeout_s)
        if not gentle:
            self.kill()
            await self.wait(None)
        return gentle

    def terminate(self) -> None:
        """Restart it no more, and send SIGTERM."""
        self._stopping.set()
        self._signal(signal.SIGTERM)

    async def restart(self, timeout_s: float) -> bool:
        """Send SIGTERM, after `timeout_s` SIGKILL; say whether another one runs in its place.

        False when none was started within `timeout_s` of its end.
        """
        last = self._leaving = self._starts
        self._replaced = "left for a reload"
        self._signal(signal.SIGTERM)
        if not await self._becomes(lambda: self._ended >= last, timeout_s):
            self.replace("killed for a reload: it did not leave")
        return await self._becomes(
            lambda: self._starts > last and self.pid is not None, timeout_s
        )

    async def _becomes(self, true: Callable[[], bool], timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while not true() and time.monotonic() < deadline:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(LOOK_S)
        return true()

    def end_input(self) -> None:
        """Restart it no more, and let it see the end of its standard input: all is to stop."""
        self._stopping.set()
        self._close_input()

    def replace(self, why: str) -> None:
        """Kill what runs now; another one is started."""
        self._replaced = why
        self._signal(signal.SIGKILL, group=True)

    def kill(self) -> None:
        """Send SIGKILL to it and to what it started in its process group."""
        self._stopping.set()
        self._signal(signal.SIGKILL, group=True)

    async def wait(self, timeout_s: float | None) -> bool:
        """Wait for its end; False if it still runs after `timeout_s`."""
        if self._task is None:
            return True
        done, _ = await asyncio.wait([self._task], timeout=timeout_s)
        return bool(done)

    def _signal(self, number: signal.Signals, *, group: bool = False) -> None:
        if self.pid is None:
            return
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)

    async def _keep(self) -> None:
        wait_s = FIRST_WAIT_S
        while not self._stopping.is_set():
            started = time.monotonic()
            ended = await self._run_once()
            self.last_end, self._replaced = self._replaced or ended, ""
            self._process = None
            lived = time.monotonic() - started
            if lived >= ALIVE_S:
                wait_s, self.failures = FIRST_WAIT_S, 0
            self.failures += 1
            self._changed()
            try:
                async with asyncio.timeout(wait_s):
                    await self._stopping.wait()
            except TimeoutError:
                self.restarts += 1
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)

    async def _run_once(self) -> str:
        self._starts += 1
        try:
            return await self._run_to_its_end()
        finally:
            self._ended = self._starts

    async def _run_to_its_end(self) -> str:
        program = self.program
        log = open_log(program.log)
        if program.watches_stdin:
            read, self._input = os.pipe()
        else:
            read = os.open(os.devnull, os.O_RDONLY)
        try:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *program.argv,
                    env=dict(program.env),
                    cwd=program.cwd,
                    stdin=read,
                    stdout=log,
                    stderr=log,
                    pass_fds=tuple(program.pass_fds),
                    start_new_session=True,  # Ctrl-C reaches this process alone, which ends them
                )
            except OSError as error:
                return f"could not be started: {error}"
            finally:
                os.close(read)
                os.close(log)
            if self._stopping.is_set() or self._leaving == self._starts:
                self._signal(signal.SIGTERM)  # that came while it was being started
            self._changed()
            code = await self._process.wait()
        finally:
            self._close_input()
        return f"ended by signal {-code}" if code < 0 else f"ended with {code}"

    def _close_input(self) -> None:
        if self._input >= 0:
            os.close(self._input)
            self._input = -1


async def reap_strangers(mine: Callable[[], set[int]]) -> None:
    """As PID 1, take the exit status of orphans that were handed to us; never of `mine`."""
    while os.getpid() == 1:
        while _reap_one(mine()):
            pass
        await asyncio.sleep(1)


def _reap_one(mine: set[int]) -> bool:
    if sys.platform != "linux":
        return False
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    if ended is None or ended.si_pid in mine:
        return False  # asyncio takes its own; we look again in a second
    os.waitpid(ended.si_pid, os.WNOHANG)
    return True
