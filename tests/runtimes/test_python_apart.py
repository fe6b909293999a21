"""Python handlers in a process of their own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import Refusal, RuntimeFault, RuntimeUnavailable
from bridge.message import Invocation, context_for
from bridge.runtimes.python import PythonRuntime
from bridge.runtimes.python_apart import PythonApart
from tests.deadline import DEADLINE_S
from tests.running import lives
from tests.subsystems.counter.counter import handle

ROOT = Path(__file__).parents[2]
SUBSYSTEMS = Path(__file__).parents[1] / "subsystems"
INITIAL = {"total": 0, "log": [], "pad": ""}


def invocation(operation: str, request: Any, timeout_ms: int = 5000) -> Invocation:
    context = context_for("m1", 1000, 2000, "UTC", "k")
    return Invocation(
        *("counter", "k", operation, "command", request, INITIAL, context, "", timeout_ms)
    )


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Awaitable[None]]], None]:
    monkeypatch.setenv("BRIDGE_CONTRACTS", str(SUBSYSTEMS))
    monkeypatch.setenv("BRIDGE_IMPLEMENTATIONS", str(SUBSYSTEMS / "implementations.json"))

    def run(test: Callable[[PythonApart, PythonRuntime], Awaitable[None]]) -> None:
        async def main() -> None:
            here = PythonRuntime({"counter": handle}, budget_ms=200)
            runtime = PythonApart(here)
            try:
                await test(runtime, here)
            finally:
                await runtime.close()

        asyncio.run(main())

    return run


def test_it_answers_as_the_handlers_here_do(apart: Any) -> None:
    async def test(runtime: PythonApart, here: PythonRuntime) -> None:
        asked = invocation("add", {"n": 2, "tag": "é"})
        assert await runtime.handle(asked) == await here.handle(asked)
        with pytest.raises(Refusal) as refused:
            await runtime.handle(invocation("fail", {"how": "refuse"}))
        assert refused.value.reason == "no"
        for how, kind in (("crash", "crashed"), ("loop", "timeout")):
            with pytest.raises(RuntimeFault) as fault:
                await runtime.handle(invocation("fail", {"how": how}))
            assert fault.value.kind == kind

    apart(test)


def test_a_process_that_ended_or_is_of_another_build_is_started_again(apart: Any) -> None:
    async def test(runtime: PythonApart, here: PythonRuntime) -> None:
        asked = invocation("add", {"n": 2, "tag": ""})
        await runtime.handle(asked)
        first = runtime._process
        assert first is not None
        first.kill()
        await first.wait()
        await runtime.handle(asked)
        second = runtime._process
        assert second is not first
        here.replace("counter", handle, "later")
        await runtime.handle(asked)
        assert runtime._process is not second

    apart(test)


def test_who_waits_is_told_when_it_ends(apart: Any) -> None:
    async def test(runtime: PythonApart, here: PythonRuntime) -> None:
        await runtime.handle(invocation("add", {"n": 1, "tag": ""}))
        waits = asyncio.create_task(runtime.handle(invocation("fail", {"how": "loop"})))
        while not runtime._waiting:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0)
        assert runtime._process is not None
        runtime._process.kill()
        with pytest.raises(RuntimeUnavailable):
            await waits

    apart(test)


PARENT = """
import asyncio
from bridge.runtimes.python import PythonRuntime
from bridge.runtimes.python_apart import PythonApart
from tests.runtimes.test_python_apart import invocation
from tests.subsystems.counter.counter import handle

async def main():
    runtime = PythonApart(PythonRuntime({"counter": handle}, budget_ms=200))
    await runtime.handle(invocation("add", {"n": 1, "tag": ""}))
    print(runtime._process.pid, flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


def test_it_ends_with_a_worker_that_is_killed(apart: Any) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, cwd=ROOT, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + DEADLINE_S
    while lives(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)
