"""The built-in subsystems in every runtime of this machine, asked the same messages."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from typing import Any

from bridge.canonical import canonical
from bridge.cli.runtimes import present
from bridge.contracts.files import BUILT_IN
from bridge.contracts.implementations import load_all, python_handlers
from bridge.contracts.registry import Registry
from bridge.errors import Refusal, RuntimeUnavailable
from bridge.message import JSON, Invocation, Outcome, context_for
from bridge.runtimes.runtime import Runtime
from bridge.settings import Settings
from tests.deadline import DEADLINE_S

REGISTRY = Registry.load(BUILT_IN)
HANDLERS = python_handlers(load_all())
KEY = "key"
# operation, request, milliseconds since the message before
Message = tuple[str, dict[str, JSON], int]


def invocation(subsystem: str, operation: str, request: JSON, state: JSON, now_ms: int) -> Any:
    """Build what a runtime is handed; the request is held to the contract."""
    contract = REGISTRY.get(subsystem)
    asked = contract.operation(operation, internal=True)
    context = context_for("m", now_ms, now_ms + contract.timeout_ms, "UTC", KEY)
    return Invocation(
        subsystem,
        KEY,
        operation,
        asked.kind,
        asked.check_request(request),
        state,
        context,
        contract.digest,
        int(DEADLINE_S * 1000),
    )


def in_python(asked: Invocation) -> Outcome | Refusal:
    """Call the Python handler; its answer is held to the contract and its state must stay."""
    contract = REGISTRY.get(asked.subsystem)
    operation = contract.operation(asked.operation, internal=True)
    before = canonical(asked.state)
    handle = HANDLERS[asked.subsystem]
    try:
        answer = Outcome(*handle(asked.state, asked.operation, asked.request, asked.context))
    except Refusal as refusal:
        operation.check_refusal(refusal, "python")
        return refusal
    finally:
        assert canonical(asked.state) == before
    return contract.check_outcome(operation, answer, "python")


def run(
    subsystem: str, messages: Sequence[Message], state: JSON = None
) -> Iterator[tuple[Invocation, Outcome | Refusal]]:
    """Send messages to one key in Python, each meeting what the one before left."""
    now_ms = 1_767_225_600_000
    state = REGISTRY.get(subsystem).initial_state if state is None else state
    for operation, request, after_ms in messages:
        now_ms += after_ms
        asked = invocation(subsystem, operation, request, state, now_ms)
        answer = in_python(asked)
        yield asked, answer
        if isinstance(answer, Outcome) and asked.kind == "command":
            state = answer.state


def as_bytes(asked: Invocation, answer: Outcome | Refusal) -> bytes:
    """Return what is compared: reason and message of a refusal, or reply, effects and state."""
    if isinstance(answer, Refusal):
        return canonical({"refused": answer.reason, "message": answer.message})
    contract = REGISTRY.get(asked.subsystem)
    operation = contract.operation(asked.operation, internal=True)
    return canonical(list(contract.check_outcome(operation, answer, "python")))


class Elsewhere:
    """The runtimes beside Python, on a loop that runs while they are asked."""

    def __init__(self, runner: asyncio.Runner, runtimes: dict[str, Runtime]) -> None:
        self._runner = runner
        self._runtimes = runtimes

    def agree(self, subsystem: str, messages: Sequence[Message], state: JSON = None) -> None:
        """Fail unless each runtime answers each message with Python's bytes."""
        steps = list(run(subsystem, messages, state))
        expected = [as_bytes(*step) for step in steps]
        for name, runtime in self._runtimes.items():
            answers = self._runner.run(_all(runtime, [asked for asked, _ in steps]))
            for (asked, _), wanted, answer in zip(steps, expected, answers, strict=True):
                assert as_bytes(asked, answer) == wanted, f"{name}: {asked}"


@contextmanager
def elsewhere() -> Iterator[Elsewhere | None]:
    """Start the runtimes that are here; None if there is none but Python."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        here = runner.run(stack.enter_async_context(present(Settings(), REGISTRY)))
        try:
            assert not here.failed
            here.runtimes.pop("python")
            yield Elsewhere(runner, here.runtimes) if here.runtimes else None
        finally:
            runner.run(stack.aclose())


async def _all(runtime: Runtime, invocations: list[Invocation]) -> list[Outcome | Refusal]:
    return await asyncio.gather(*(_one(runtime, asked) for asked in invocations))


async def _one(runtime: Runtime, asked: Invocation) -> Outcome | Refusal:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                return await runtime.handle(asked)
            except Refusal as refusal:
                return refusal
            except RuntimeUnavailable:  # nobody looked at its leases since the last example
                await asyncio.sleep(0.05)
