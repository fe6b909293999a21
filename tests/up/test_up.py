"""`bridge up` whole: what it starts, keeps alive, shows and leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.up import programs
from bridge.up.programs import Command
from tests.deadline import DEADLINE_S, until
from tests.running import ALONE, Up, bridge, environment, processes_of
from tests.up.test_nodes import workers_of

CALL = ("call", "heartbeat:main", "status")


def test_every_runtime_of_this_machine_answers_one_real_message(tmp_path: Path) -> None:
    path = programs.search_path()
    done = bridge(tmp_path, "up", "--check", "--port", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    for name, found in (
        ("python", programs.worker()),
        ("typescript", programs.typescript(path)),
        ("elixir", programs.elixir(path)),
    ):
        line = re.search(rf"^{name} .*$", done.stdout, re.MULTILINE)
        assert line is not None, done.stdout
        if isinstance(found, programs.Missing):
            assert line[0].endswith(found.reason)
        else:
            assert re.fullmatch(rf"{name} +heartbeat +\d+\.\d ms +ok", line[0])
    assert processes_of(tmp_path) == {}
    assert not (tmp_path / "run.json").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_drains_and_leaves_no_process_behind(
    tmp_path: Path, number: signal.Signals
) -> None:
    with Up(tmp_path, **ALONE) as up:
        sockets = Path(up.run["listener"]).parent
        assert len(up.children()) == 3  # Redis and two workers
        assert up.end(number) == 0
        assert processes_of(tmp_path) == {}
        assert not (tmp_path / "run.json").exists()
        assert not sockets.exists()
        assert "killed" not in up.output


def test_a_second_signal_waits_for_nobody(tmp_path: Path) -> None:
    with Up(tmp_path, **ALONE, BRIDGE_WORKERS="1", BRIDGE_DRAIN_MS="600000") as up:
        (worker,) = workers_of(up)
        os.kill(worker, signal.SIGSTOP)
        listener = Path(up.run["listener"])
        up.process.send_signal(signal.SIGINT)
        asyncio.run(until(lambda: not listener.exists(), "it is stopping"))
        assert up.end(signal.SIGINT) == 0
        assert processes_of(tmp_path) == {}


def test_a_stopped_worker_is_killed_after_the_drain(tmp_path: Path) -> None:
    with Up(tmp_path, **ALONE, BRIDGE_WORKERS="1", BRIDGE_DRAIN_MS="0") as up:
        (worker,) = workers_of(up)
        os.kill(worker, signal.SIGSTOP)
        assert up.end() == 0
        assert up.output.endswith("killed, as they do not leave by themselves: worker-1\n")
        assert processes_of(tmp_path) == {}


def test_a_killed_worker_is_replaced_and_the_address_stays(tmp_path: Path) -> None:
    with Up(tmp_path, **ALONE) as up:
        url = up.run["url"]
        for worker in workers_of(up):
            os.kill(worker, signal.SIGKILL)
        done = bridge(tmp_path, *CALL)
        assert done.returncode == 0, done.stderr
        asyncio.run(until(lambda: len(up.children()) == 3, "both are there again"))
        assert up.run["url"] == url
        assert re.search(r"^worker-1 ended by signal 9, started again", up.output, re.MULTILINE)


def test_a_second_up_names_the_pid_of_the_first(tmp_path: Path) -> None:
    with Up(tmp_path, **ALONE) as up:
        second = bridge(tmp_path, "up", **ALONE)
        assert second.returncode == 1
        *_, said = second.stderr.splitlines()
        assert f"already, as pid {up.process.pid}: stop it with `kill" in said
        assert "Traceback" not in second.stderr


def test_an_up_whose_directory_is_removed_says_so_and_stops(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    with Up(tmp_path, **ALONE, BRIDGE_DIR=str(directory)) as up:
        shutil.rmtree(directory)
        assert up.process.wait(4 * DEADLINE_S) == 1
        assert f"{directory} was removed while this bridge ran" in up.output
        assert processes_of(directory) == {}
        assert not directory.exists()


def test_an_up_whose_directory_is_removed_before_it_serves_says_so_too(tmp_path: Path) -> None:
    directory, output = tmp_path / "data", tmp_path / "up.out"
    with open(output, "w") as file:
        command = [sys.executable, "-m", "bridge", "up", "--port", "0"]
        env = environment(directory, **ALONE)
        process = subprocess.Popen(command, env=env, stdout=file, stderr=file)
    lock = directory / "up.lock"
    asyncio.run(until(lambda: lock.exists() and lock.read_text(), "it has the lock"))
    directory.rename(tmp_path / "elsewhere")
    assert process.wait(4 * DEADLINE_S) == 1
    assert f"{directory} was removed while this bridge ran" in output.read_text()
    assert "Traceback" not in output.read_text()
    assert processes_of(directory) == {}


def test_commands_say_that_a_frozen_up_is_frozen(tmp_path: Path) -> None:
    with Up(tmp_path, **ALONE) as up:
        up.process.send_signal(signal.SIGSTOP)
        frozen = f"`bridge up` (pid {up.process.pid}) is frozen by SIGSTOP or Ctrl-Z"
        done = bridge(tmp_path, *CALL)
        assert (done.returncode, frozen in done.stderr) == (0, True)  # the workers go on
        for asked in (("reload", "heartbeat"), ("up", "--port", "0")):
            done = bridge(tmp_path, *asked)
            assert (done.returncode, frozen in done.stderr) == (1, True), done.stderr
        done = bridge(tmp_path, "doctor", "--live")
        assert (done.returncode, frozen in done.stdout) == (1, True)
        up.process.send_signal(signal.SIGCONT)
        assert frozen not in bridge(tmp_path, *CALL).stderr


def test_an_up_whose_directory_another_has_stops_and_leaves_it_alone(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    with Up(tmp_path, **ALONE, BRIDGE_DIR=str(directory)) as first:
        first.process.send_signal(signal.SIGSTOP)  # so that the second is there before it looks
        shutil.rmtree(directory)
        with Up(directory, **ALONE) as second:
            run = dict(second.run)
            first.process.send_signal(signal.SIGCONT)
            assert first.process.wait(4 * DEADLINE_S) == 1
            assert f"{directory} was replaced by another while" in first.output
            assert json.loads((directory / "run.json").read_text()) == run
            assert bridge(directory, *CALL).returncode == 0
            assert second.end() == 0


def test_of_a_killed_up_only_redis_stays_and_the_next_takes_it_over(tmp_path: Path) -> None:
    with Up(tmp_path, **ALONE) as first:
        assert bridge(tmp_path, "call", "heartbeat:main", "tick").returncode == 0
        sockets = Path(first.run["listener"]).parent
        assert first.end(signal.SIGKILL) == -signal.SIGKILL
        asyncio.run(until(lambda: len(processes_of(tmp_path)) == 1, "the workers left"))
        (redis,) = processes_of(tmp_path)
        assert bridge(tmp_path, *CALL).returncode == 1
        with Up(tmp_path, **ALONE) as second:
            assert f"took over pid {redis} of an earlier run" in second.output
            assert json.loads(bridge(tmp_path, *CALL).stdout)["runs"] == 1
            assert not sockets.exists()
    assert processes_of(tmp_path) == {}


def test_the_usual_port_is_replaced_by_a_free_one_if_it_is_taken(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # whoever has it does as well
            stack.enter_context(socket.create_server(("127.0.0.1", 4100)))
        done = bridge(tmp_path, "up", "--check", **ALONE)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^port 4100 is taken: using \d+$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("asked", ["--port", "BRIDGE_PORT"])
def test_a_port_that_was_asked_for_and_is_taken_is_refused(tmp_path: Path, asked: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        option = ("--port", port) if asked == "--port" else ()
        setting = {} if option else {"BRIDGE_PORT": port}
        done = bridge(tmp_path, "up", "--check", *option, **ALONE, **setting)
    assert done.returncode == 1
    assert f"port {port} is taken: give another --port or BRIDGE_PORT" in done.stderr


def test_everysec_is_told_to_be_a_window_of_loss(tmp_path: Path) -> None:
    env = {**ALONE, "BRIDGE_APPENDFSYNC": "everysec"}
    done = bridge(tmp_path, "up", "--check", "--port", "0", **env)
    assert "redis: appendfsync everysec: a crash of the machine may lose" in done.stdout


def test_what_is_switched_off_is_one_line(tmp_path: Path) -> None:
    done = bridge(tmp_path, "up", "--check", "--port", "0", **ALONE)
    assert done.returncode == 0
    assert re.search(
        r"^typescript +- +- +switched off by BRIDGE_TYPESCRIPT=off$", done.stdout, re.MULTILINE
    )
    assert re.search(
        r"^elixir +- +- +switched off by BRIDGE_NODE=off$", done.stdout, re.MULTILINE
    )


def test_a_folder_without_a_contract_stops_the_start(tmp_path: Path) -> None:
    folder = tmp_path / "contracts"
    folder.mkdir()
    done = bridge(tmp_path, "up", "--contracts", str(folder), **ALONE)
    assert done.returncode == 1
    assert f"{folder}: (whole file): file: expected <name>/subsystem.json in it" in done.stderr
    assert processes_of(tmp_path) == {}


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("BRIDGE_HOST", "0.0.0.0", "set BRIDGE_TOKEN"),
        ("BRIDGE_PORT", "many", "BRIDGE_PORT: expected a whole number"),
        ("BRIDGE_PORT", "65536", "BRIDGE_PORT: expected a port from 0 to 65535, got 65536"),
        ("BRIDGE_COLOUR", "red", "BRIDGE_COLOUR: no such setting"),
    ],
)
def test_a_wrong_setting_stops_the_start(
    tmp_path: Path, name: str, value: str, text: str
) -> None:
    done = bridge(tmp_path, "up", **{**ALONE, name: value})
    assert done.returncode == 2
    assert text in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_without_a_working_node_a_worker_stands_in(tmp_path: Path) -> None:
    found = programs.elixir(programs.search_path())
    if not isinstance(found, Command):
        pytest.skip("there is no Elixir on this machine")
    broken = tmp_path / "bin" / "elixir"
    broken.parent.mkdir()
    # mix runs on it too, and must still compile.
    broken.write_text(
        '#!/bin/sh\ncase "$*" in *Bridge.Application*|*BridgeWeb.main*) exit 3 ;; esac\n'
        f'exec {found.argv[0]} "$@"\n'
    )
    broken.chmod(0o755)
    path = os.pathsep.join([str(broken.parent), os.environ["PATH"]])
    done = bridge(tmp_path, "up", "--check", "--port", "0", BRIDGE_TYPESCRIPT="off", PATH=path)
    assert done.returncode == 1
    assert re.search(r"^python +heartbeat .* ok$", done.stdout, re.MULTILINE), done.stdout
    assert re.search(r"^elixir .* runtime_unavailable: ", done.stdout, re.MULTILINE)
    assert processes_of(tmp_path) == {}
