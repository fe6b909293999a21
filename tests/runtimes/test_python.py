"""What a crash of a handler in this process tells; the rest is in tests/test_dispatch.py."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from bridge.canonical import normalise
from bridge.errors import BridgeError, Refusal, RuntimeFault
from bridge.message import Context, Invocation, Judge, Outcome, context_for
from bridge.runtimes.python import PythonRuntime
from bridge.runtimes.runtime import unjudged

CONTEXT = context_for("m", 0, 1000, "UTC", "key")
ASKED = Invocation("a", "key", "do", "command", {}, {}, CONTEXT, "digest", 1000)


def fault_of(handler: Any, judge: Judge = unjudged, budget_ms: int = 250) -> RuntimeFault:
    with pytest.raises(RuntimeFault) as caught:
        asyncio.run(PythonRuntime({"a": handler}, budget_ms).handle(ASKED, judge))
    return caught.value


def crash_of(handler: Any) -> str:
    fault = fault_of(handler)
    assert fault.kind == "crashed"
    return fault.message


def judge(outcome: Outcome) -> Outcome:
    """Judge the reply alone, as a contract that takes anything does."""
    try:
        return Outcome(normalise(outcome.reply), [])
    except BridgeError as error:
        raise RuntimeFault("python", "not_serialisable", error.message) from None


def test_a_crash_names_the_line_of_the_handlers_own_file() -> None:
    def handle(*_: object) -> Any:
        return json.loads("{")

    message = crash_of(handle)
    assert message.startswith("python: a.do raised JSONDecodeError: ")
    assert message.endswith(f" (test_python.py:{handle.__code__.co_firstlineno + 1})")


def test_what_is_no_handler_at_all_crashes_without_a_line() -> None:
    assert crash_of(lambda: None).endswith(" takes 0 positional arguments but 4 were given")


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise SystemExit


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Unspeakable(), "Unspeakable: its text cannot be had"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (GeneratorExit(), "GeneratorExit"),
        (asyncio.CancelledError(), "CancelledError"),
        (ValueError("half \ud83d"), "ValueError: half \ufffd"),
        (ValueError("x" * 1000), f"ValueError: {'x' * 500}…"),
    ],
)
def test_whatever_a_handler_raises_is_its_crash(error: BaseException, said: str) -> None:
    def handle(*_: object) -> Any:
        raise error

    message = crash_of(handle)
    assert message.startswith(f"python: a.do raised {said} (")


def test_a_coroutine_function_is_no_handler() -> None:
    async def handle(*_: object) -> Any:
        raise AssertionError("not even begun")

    fault = fault_of(handle)
    assert fault.kind == "off_contract"
    assert "a coroutine: a handler is a plain `def`" in fault.message


def test_an_answer_that_holds_itself_again_and_again_is_too_large() -> None:
    def handle(*_: object) -> Any:
        shared: Any = ["x"]
        for _level in range(60):
            shared = [shared, shared]
        return shared, [], {}

    fault = fault_of(handle, judge, budget_ms=60_000)
    assert (fault.kind, fault.message) == (
        "not_serialisable",
        "python: more than 131072 values in one",
    )


def test_judging_counts_against_the_handlers_budget() -> None:
    def endless(outcome: Outcome) -> Outcome:
        while True:
            pass

    assert fault_of(lambda *_: (None, [], {}), endless).kind == "timeout"


def test_what_a_handler_does_to_its_context_is_seen_by_nobody_else() -> None:
    seen = []

    def handle(_state: Any, _operation: str, _request: Any, context: Context) -> Any:
        seen.append(context.local["date"])
        context.local["date"] = "changed"
        return None, [], None

    runtime = PythonRuntime({"a": handle}, 250)
    for _ in range(2):
        asyncio.run(runtime.handle(ASKED))
    assert seen == ["1970-01-01", "1970-01-01"]
    assert CONTEXT.local["date"] == "1970-01-01"


class Bare(Refusal):
    """A refusal of somebody else's making, which has neither reason nor message."""

    def __init__(self) -> None:
        pass


class Endless(Refusal):
    @property
    def reason(self) -> str:
        while True:
            pass

    @reason.setter
    def reason(self, _: str) -> None:
        pass


@pytest.mark.parametrize(("refusal", "kind"), [(Bare(), "crashed"), (Endless("no"), "timeout")])
def test_a_refusal_that_cannot_be_read_is_the_handlers_fault(refusal: Refusal, kind: str) -> None:
    def handle(*_: object) -> Any:
        raise refusal

    assert fault_of(handle).kind == kind
