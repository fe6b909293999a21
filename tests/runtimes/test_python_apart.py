"""Python handlers in a process of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import Refusal, RuntimeFault, RuntimeUnavailable
from bridge.message import Invocation, context_for
from bridge.runtimes.python import PythonRuntime
from bridge.runtimes.python_apart import PythonApart
from tests.subsystems.counter.counter import handle

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
