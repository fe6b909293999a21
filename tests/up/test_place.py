"""One bridge per directory, found by its run file, leaving nothing behind."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.up.place import (
    MAX_SOCKET_PATH_BYTES,
    AlreadyRunning,
    Lock,
    NotRunning,
    RunFile,
    remove_dead_sockets,
    remove_leftovers,
    sockets_directory,
)

HOLDER = """
import sys
from pathlib import Path
from bridge.up.place import Lock
lock = Lock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_lock_names_the_pid_of_the_first(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert Lock.held(tmp_path)
        with pytest.raises(AlreadyRunning) as caught:
            Lock(tmp_path)
        assert f"as pid {holder.pid}: stop it with `kill {holder.pid}`" in str(caught.value)
        holder.kill()
        holder.wait()
    assert not Lock.held(tmp_path)
    Lock(tmp_path).close()


def test_the_run_file_says_where_the_bridge_is(tmp_path: Path) -> None:
    run = RunFile(os.getpid(), "http://127.0.0.1:4100", "redis://127.0.0.1:1/0", "/l", "/s")
    lock = Lock(tmp_path)
    run.write(tmp_path)
    assert RunFile.read(tmp_path) == run
    assert (tmp_path / "run.json").stat().st_mode & 0o777 == 0o600
    lock.close()
    with pytest.raises(NotRunning, match=f"left behind by pid {os.getpid()}, which is gone"):
        RunFile.read(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"pid": 1, "other": 2}', "{"])
def test_a_run_file_of_another_make_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(NotRunning, match=r"run\.json is unreadable"):
        RunFile.read(tmp_path)


def test_without_a_run_file_the_way_to_start_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match="start it with `bridge up`"):
        RunFile.read(tmp_path)


def test_leftovers_of_a_killed_bridge_are_removed(tmp_path: Path) -> None:
    sockets = sockets_directory()
    (sockets / "listener").touch()
    RunFile(1, "http://x", "redis://x", str(sockets / "link"), str(sockets / "listener")).write(
        tmp_path
    )
    remove_leftovers(tmp_path)
    assert not sockets.exists()
    assert list(tmp_path.iterdir()) == []


def test_leftovers_never_reach_a_directory_that_is_not_ours(tmp_path: Path) -> None:
    shared = tmp_path / "volume"
    shared.mkdir()
    (shared / "kept").touch()
    RunFile(1, "http://x", "redis://x", str(shared), str(shared / "listener")).write(tmp_path)
    remove_leftovers(tmp_path)
    assert (shared / "kept").exists()
    assert not (tmp_path / "run.json").exists()


def test_sockets_of_killed_workers_are_removed_and_living_ones_stay() -> None:
    folder = sockets_directory()
    with socket.socket(socket.AF_UNIX) as dead, socket.socket(socket.AF_UNIX) as living:
        dead.bind(str(folder / "dead.sock"))
        living.bind(str(folder / "living.sock"))
        living.listen()
        (folder / "other").touch()
        remove_dead_sockets(folder)
        assert sorted(path.name for path in folder.iterdir()) == ["living.sock", "other"]
    shutil.rmtree(folder)


def test_sockets_have_short_paths_wherever_temporary_files_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    monkeypatch.setenv("TMPDIR", str(deep))
    monkeypatch.setattr("tempfile.tempdir", None)  # else the first answer is kept
    made = sockets_directory()
    longest = made / "link" / ("x" * 40)
    assert len(os.fsencode(longest)) <= MAX_SOCKET_PATH_BYTES
    assert made.stat().st_mode & 0o777 == 0o700
    made.rmdir()
