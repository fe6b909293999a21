"""Real children: restarted when they die, ended when they will not."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bridge.up.place import MAX_LOG_BYTES
from bridge.up.supervisor import Child, Program
from tests.deadline import DEADLINE_S, until
from tests.running import lives

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(600)
"""
WATCHER = """
import os, sys
print("watching", flush=True)
sys.stdin.read()
print("parent gone", flush=True)
"""
REAPER = """
import os, sys, time
from bridge.up.supervisor import _reap_one
ended = os.spawnlp(os.P_NOWAIT, "true", "true")
while not os.waitid(os.P_PID, ended, os.WEXITED | os.WNOWAIT):
    pass
assert not _reap_one({ended})
assert _reap_one(set())
assert not _reap_one(set())
"""
PARENT = """
import asyncio, os, sys
from pathlib import Path
from bridge.up.supervisor import Child, Program
async def main():
    child = Child(Program("watcher", (sys.executable, "-c", sys.argv[1]), dict(os.environ),
                          Path(sys.argv[2]), watches_stdin=True))
    child.start()
    await asyncio.sleep(600)
asyncio.run(main())
"""


def program(tmp_path: Path, *argv: str, watches_stdin: bool = False) -> Program:
    return Program(
        "child", argv, dict(os.environ), tmp_path / "child.log", watches_stdin=watches_stdin
    )


def test_a_killed_child_is_started_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        child = Child(program(tmp_path, "sleep", "600"))
        child.start()
        await until(lambda: child.pid is not None, "it runs")
        first = child.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda: child.pid not in (None, first), "it runs again")
        assert (child.restarts, child.last_end) == (1, "ended by signal 9")
        assert await child.stop(DEADLINE_S)
        assert child.pid is None

    asyncio.run(scenario())


def test_a_child_that_keeps_dying_waits_longer_each_time(tmp_path: Path) -> None:
    async def scenario() -> float:
        child = Child(program(tmp_path, "false"))
        started = asyncio.get_running_loop().time()
        child.start()
        await until(lambda: child.restarts == 2, "it was started three times")
        took_s = asyncio.get_running_loop().time() - started
        assert child.last_end == "ended with 1"
        await child.stop(DEADLINE_S)
        return took_s

    assert asyncio.run(scenario()) >= 0.25 + 0.5


def test_a_program_that_does_not_exist_is_told_and_tried_again(tmp_path: Path) -> None:
    async def scenario() -> str:
        child = Child(program(tmp_path, str(tmp_path / "nothing")))
        child.start()
        await until(lambda: child.restarts > 0, "it was tried again")
        await child.stop(DEADLINE_S)
        return child.last_end

    assert asyncio.run(scenario()).startswith("could not be started: [Errno 2]")


def test_a_child_deaf_to_sigterm_is_killed(tmp_path: Path) -> None:
    async def scenario() -> None:
        child = Child(program(tmp_path, sys.executable, "-c", STUBBORN))
        child.start()
        await until(lambda: b"deaf" in _log(tmp_path), "it ignores SIGTERM")
        pid = child.pid
        assert pid is not None
        assert await child.stop(timeout_s=0.1) is False
        assert not lives(pid)

    asyncio.run(scenario())


@pytest.mark.parametrize("stopped", [False, True])
def test_a_child_that_does_not_leave_for_its_restart_is_killed(
    tmp_path: Path, stopped: bool
) -> None:
    async def scenario() -> None:
        child = Child(program(tmp_path, sys.executable, "-c", STUBBORN))
        child.start()
        await until(lambda: b"deaf" in _log(tmp_path), "it ignores SIGTERM")
        first = child.pid
        assert first is not None
        if stopped:
            os.kill(first, signal.SIGSTOP)
        assert await child.restart(DEADLINE_S / 10)
        assert not lives(first)
        assert child.last_end == "killed for a reload: it did not leave"
        assert child.pid not in (None, first)
        await child.stop(timeout_s=0.1)

    asyncio.run(scenario())


def test_a_restart_replaces_what_is_just_being_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = asyncio.create_subprocess_exec

    async def scenario() -> None:
        begun, go_on = list[int](), asyncio.Event()

        async def slowly(*argv: str, **options: Any) -> asyncio.subprocess.Process:
            process = await start(*argv, **options)
            begun.append(process.pid)
            await go_on.wait()
            return process

        monkeypatch.setattr(asyncio, "create_subprocess_exec", slowly)
        child = Child(program(tmp_path, "sleep", "600"))
        child.start()
        await until(lambda: begun, "it is being started")
        restarted = asyncio.create_task(child.restart(DEADLINE_S))
        await asyncio.sleep(0)
        go_on.set()
        assert await restarted
        assert (child.pid, lives(begun[0])) == (begun[1], False)
        await child.stop(DEADLINE_S)

    asyncio.run(scenario())


def test_a_restart_says_that_nothing_runs_in_its_place(tmp_path: Path) -> None:
    async def scenario() -> None:
        sleep = tmp_path / "sleep"
        sleep.symlink_to("/bin/sleep")
        child = Child(program(tmp_path, str(sleep), "600"))
        child.start()
        await until(lambda: child.pid is not None, "it runs")
        sleep.unlink()
        assert not await child.restart(DEADLINE_S / 10)
        await child.stop(DEADLINE_S)

    asyncio.run(scenario())


def test_what_a_killed_child_started_dies_with_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        child = Child(program(tmp_path, "sh", "-c", "trap '' TERM; sleep 600 & echo $!; wait"))
        child.start()
        await until(lambda: b"\n" in _log(tmp_path), "its child runs")
        grandchild = int(_log(tmp_path))
        await child.stop(timeout_s=0.1)
        await until(lambda: not lives(grandchild), "its child is gone")

    asyncio.run(scenario())


def test_stop_between_two_lives_starts_no_third(tmp_path: Path) -> None:
    async def scenario() -> None:
        child = Child(program(tmp_path, "false"))
        child.start()
        await until(lambda: child.failures > 0 and child.pid is None, "it waits")
        restarts = child.restarts
        assert await child.stop(DEADLINE_S)
        assert (child.restarts, child.pid) == (restarts, None)

    asyncio.run(scenario())


def test_a_child_that_watches_stdin_sees_its_supervisor_killed(tmp_path: Path) -> None:
    log = tmp_path / "watcher.log"

    def watching() -> bool:
        return log.exists() and b"watching" in log.read_bytes()

    parent = subprocess.Popen([sys.executable, "-c", PARENT, WATCHER, str(log)])
    try:
        asyncio.run(until(watching, "it watches"))
    finally:
        parent.kill()
        parent.wait()
    asyncio.run(until(lambda: b"parent gone" in log.read_bytes(), "it saw the end of file"))


@pytest.mark.skipif(sys.platform != "linux", reason="only containers have us as PID 1")
def test_only_strangers_are_reaped() -> None:
    subprocess.run([sys.executable, "-c", REAPER], check=True)


def test_a_log_file_that_has_grown_large_is_moved_aside(tmp_path: Path) -> None:
    (tmp_path / "child.log").write_bytes(b"x" * (MAX_LOG_BYTES + 1))

    async def scenario() -> None:
        child = Child(program(tmp_path, "echo", "new"))
        child.start()
        await until(lambda: child.failures > 0, "it ended")
        await child.stop(DEADLINE_S)

    asyncio.run(scenario())
    assert _log(tmp_path).startswith(b"new\n")
    assert (tmp_path / "child.log.1").stat().st_size == MAX_LOG_BYTES + 1


def _log(tmp_path: Path) -> bytes:
    path = tmp_path / "child.log"
    return path.read_bytes() if path.exists() else b""
