"""The containers as they run: built, started, asked, hung. Needs an engine; takes minutes."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.contracts.files import ROOT
from tests.containers.test_compose import compose
from tests.deadline import DEADLINE_S
from tests.redis_server import free_port

RUNTIMES = ("python", "typescript", "elixir")
HOST_NETWORK = "services:\n" + "".join(
    f"  {name}: {{build: {{context: {ROOT}, network: host}}}}\n"
    for name in ("redis", "typescript", "bridge", "node")
)


def engine() -> str:
    """Return why nothing can be run here, "" if it can."""
    if compose() is None:
        return "there is no docker compose here"
    asked = subprocess.run(["docker", "info"], capture_output=True, check=False)
    return "no docker engine answers" if asked.returncode else ""


pytestmark = pytest.mark.skipif(bool(engine()), reason=engine())


class Stack:
    """The split form, which has every service, under a project of its own."""

    def __init__(self, folder: Path) -> None:
        extra = folder / "network.yml"
        extra.write_text(HOST_NETWORK)
        self._project = f"test-{secrets.token_hex(4)}"
        files = ("docker-compose.yml", "bridge/docker-compose.split.yml", str(extra))
        named = [part for file in files for part in ("-f", file)]
        self._command = [*(compose() or ()), "-p", self._project, *named]
        self._env = {n: t for n, t in os.environ.items() if not n.startswith("BRIDGE_")}
        self._env |= {"BRIDGE_TOKEN": "token", "PUBLISHED_PORT": str(free_port())}

    def __call__(self, *arguments: str) -> str:
        said = subprocess.run(
            [*self._command, *arguments],
            cwd=ROOT,
            env=self._env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert said.returncode == 0, said.stdout + said.stderr
        return said.stdout

    def container(self, service: str) -> str:
        return self("ps", "-q", service).strip()

    def wait(self, service: str, state: str) -> str:
        """Wait until the health check says so; return what it said last."""
        deadline = time.monotonic() + 6 * DEADLINE_S
        while True:
            told = docker("inspect", "--format", "{{json .State}}", self.container(service))
            found = json.loads(told)
            health = found["Health"]
            if health["Status"] == state:
                return str(health["Log"][-1]["Output"]) if health["Log"] else ""
            assert time.monotonic() < deadline, f"{service}: {found}"
            time.sleep(0.5)


def docker(*arguments: str) -> str:
    return subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, check=True
    ).stdout


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("compose"))
    try:
        stack("build")
        stack("up", "-d")
        for service in ("redis", "typescript", "bridge", "node"):
            stack.wait(service, "healthy")
        yield stack
    finally:
        stack("down", "-v", "-t", "20")


def test_a_subsystem_moves_through_the_three_runtimes(stack: Stack) -> None:
    for runtime in RUNTIMES:
        assert runtime in stack("exec", "-T", "bridge", "bridge", "route", "heartbeat", runtime)


@pytest.mark.parametrize("service", ["typescript", "node"])
def test_a_process_that_hangs_is_killed_and_replaced(stack: Stack, service: str) -> None:
    container = stack.container(service)
    # All but PID 1, which is `init`, and whoever sends the signal.
    stack("exec", "-T", service, "sh", "-c", "kill -STOP -1")
    deadline = time.monotonic() + 6 * DEADLINE_S
    while docker("inspect", "--format", "{{.RestartCount}}", container).strip() == "0":
        assert time.monotonic() < deadline, f"{service} was not replaced"
        time.sleep(0.5)
    stack.wait(service, "healthy")


def test_the_gateway_says_that_it_is_redis_that_does_not_answer(stack: Stack) -> None:
    redis = stack.container("redis")
    docker("pause", redis)
    try:
        assert "Redis does not answer" in stack.wait("bridge", "unhealthy")
    finally:
        docker("unpause", redis)
    stack.wait("bridge", "healthy")
