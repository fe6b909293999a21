"""The path of a message, with the real registry, handlers and the in-memory journal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bridge.contracts.registry import Registry
from bridge.dispatch import Dispatcher, TimerGone
from bridge.errors import BridgeError, RuntimeUnavailable
from bridge.journal.memory import MemoryJournal
from bridge.message import Invocation, Judge, Message, Outcome, RuntimeName, derived_id
from bridge.runtimes.python import PythonRuntime
from bridge.runtimes.runtime import Runtime, unjudged
from bridge.telemetry import Telemetry
from tests.subsystems.counter.counter import handle as counter

SUBSYSTEMS = Path(__file__).parent / "subsystems"


@dataclass
class Elsewhere:
    """Another runtime: the same handler, with something happening around each call."""

    inner: PythonRuntime
    name: RuntimeName = "elixir"
    here: bool = True
    calls: list[Invocation] = field(default_factory=list)
    before: Callable[[], Any] | None = None

    def available(self, subsystem: str) -> bool:
        return self.here

    async def handle(self, invocation: Invocation, judge: Judge = unjudged) -> Outcome:
        self.calls.append(invocation)
        if self.before is not None:
            await self.before()
        return await self.inner.handle(invocation, judge)


class Bench:
    """A dispatcher and all it stands on."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000
        self.registry = Registry.load(SUBSYSTEMS)
        self.journal = MemoryJournal(clock=lambda: self.now_ms)
        self.python = PythonRuntime({"counter": counter}, budget_ms=100)
        self.elixir = Elsewhere(self.python)
        self.telemetry = Telemetry()
        runtimes: dict[RuntimeName, Runtime] = {"python": self.python, "elixir": self.elixir}
        self.rerouted: list[str] = []
        self.dispatcher = Dispatcher(
            self.registry,
            self.journal,
            runtimes,
            self.telemetry,
            rerouted=self.rerouted.append,
        )

    async def send(
        self, operation: str, request: Any, id: str = "", key: str = "k", **more: Any
    ) -> Any:
        message_id = id or f"m{len(await self.journal.entries('counter'))}/{operation}"
        message = Message(message_id, "counter", key, operation, request)
        return await self.dispatcher.dispatch(message, **{"timeout_ms": 2000, **more})

    async def route(self, owner: RuntimeName, fallback: RuntimeName | None = None) -> None:
        await self.journal.set_route("counter", owner, fallback)

    async def total(self) -> int:
        total: int = (await self.send("total", {}))["total"]
        return total


def run(test: Callable[[Bench], Any]) -> None:
    async def main() -> None:
        bench = Bench()
        await bench.route("python")
        await test(bench)

    asyncio.run(main())


async def refused(code: str, awaitable: Any) -> BridgeError:
    with pytest.raises(BridgeError) as caught:
        await awaitable
    assert caught.value.code == code
    return caught.value


def test_a_command_is_committed_before_it_is_answered() -> None:
    async def test(bench: Bench) -> None:
        assert await bench.send("add", {"n": 2, "tag": "a"}, "m1") == {"total": 2}
        [(_, entry)] = await bench.journal.entries("counter")
        assert entry["id"] == "m1"
        assert entry["seq"] == 1
        assert entry["state"]["total"] == 2
        assert (entry["runtime"], entry["reason"], entry["epoch"]) == ("python", "owner", 1)

    run(test)


def test_an_attempt_of_an_older_epoch_is_computed_again_after_the_route_was_looked_at() -> None:
    async def test(bench: Bench) -> None:
        await bench.send("add", {"n": 1})
        await bench.send("total", {})
        assert bench.rerouted == ["counter"]
        await bench.route("elixir")

        async def reload() -> None:
            """As `bridge reload` does while this very command is computed."""
            if len(bench.elixir.calls) == 1:
                bench.python.replace("counter", counter, "later")
                await bench.route("elixir")

        bench.elixir.before = reload
        bench.python.replace("counter", counter, "earlier")
        await bench.send("add", {"n": 1})
        assert bench.rerouted == ["counter"] * 3
        assert len(bench.elixir.calls) == 2
        [*_, (_, entry)] = await bench.journal.entries("counter")
        assert entry["build"].endswith("+later")

    run(test)


def test_the_recorded_context_is_the_one_the_handler_saw() -> None:
    async def test(bench: Bench) -> None:
        await bench.route("elixir")
        await bench.send("add", {}, "m1")
        [(_, entry)] = await bench.journal.entries("counter")
        assert entry["context"] == bench.elixir.calls[0].context.as_json()

    run(test)


def test_a_repeated_message_is_answered_again_and_committed_once() -> None:
    async def test(bench: Bench) -> None:
        first = await bench.send("add", {"n": 2}, "m1")
        await bench.send("add", {"n": 5}, "m2")
        assert await bench.send("add", {"n": 2}, "m1") == first
        assert await bench.total() == 7

    run(test)


def test_the_same_id_with_another_payload_is_a_conflict() -> None:
    async def test(bench: Bench) -> None:
        await bench.send("add", {"n": 2}, "m1")
        await refused("idempotency_conflict", bench.send("add", {"n": 3}, "m1"))
        assert await bench.total() == 2

    run(test)


def test_an_idempotency_key_makes_two_messages_one() -> None:
    async def test(bench: Bench) -> None:
        first = await bench.send("once", {"token": "t", "n": 4}, "m1")
        assert await bench.send("once", {"token": "t", "n": 4}, "m2") == first
        await refused("idempotency_conflict", bench.send("once", {"token": "t", "n": 5}, "m3"))
        assert await bench.total() == 4

    run(test)


def test_an_owner_that_changed_while_it_computed_does_not_commit() -> None:
    async def test(bench: Bench) -> None:
        await bench.route("elixir")

        async def move() -> None:
            bench.elixir.before = None
            await bench.route("python")

        bench.elixir.before = move
        assert await bench.send("add", {"n": 1}) == {"total": 1}
        [(_, entry)] = await bench.journal.entries("counter")
        assert (entry["runtime"], entry["epoch"]) == ("python", 3)

    run(test)


def test_an_owner_that_lost_and_regained_its_subsystem_computes_again() -> None:
    async def test(bench: Bench) -> None:
        await bench.route("elixir")

        async def there_and_back() -> None:
            bench.elixir.before = None
            await bench.route("python")
            await bench.route("elixir")

        bench.elixir.before = there_and_back
        await bench.send("add", {"n": 1})
        assert len(bench.elixir.calls) == 2
        [(_, entry)] = await bench.journal.entries("counter")
        assert entry["epoch"] == 4

    run(test)


def test_a_fallback_answers_for_an_owner_that_cannot_be_reached() -> None:
    async def test(bench: Bench) -> None:
        await bench.route("elixir", fallback="python")
        bench.elixir.here = False
        assert await bench.send("add", {"n": 1}) == {"total": 1}
        [(_, entry)] = await bench.journal.entries("counter")
        assert (entry["runtime"], entry["reason"]) == ("python", "fallback")

    run(test)


def test_a_fallback_answers_for_an_owner_that_left_while_it_computed() -> None:
    async def test(bench: Bench) -> None:
        await bench.route("elixir", fallback="python")

        async def leave() -> None:
            raise RuntimeUnavailable("elixir", "the link closed")

        bench.elixir.before = leave
        assert await bench.send("add", {"n": 1}) == {"total": 1}

    run(test)


def test_without_a_fallback_an_absent_owner_is_a_retryable_error() -> None:
    async def test(bench: Bench) -> None:
        await bench.route("elixir")
        bench.elixir.here = False
        error = await refused("runtime_unavailable", bench.send("add", {"n": 1}))
        assert error.retryable

    run(test)


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ("crash", "crashed"),
        ("loop", "timeout"),
        ("bad_reply", "off_contract"),
        ("bad_effect", "off_contract"),
        ("bad_state", "off_contract"),
    ],
)
def test_a_fault_is_the_runtimes_own_and_commits_nothing(how: str, kind: str) -> None:
    async def test(bench: Bench) -> None:
        error = await refused("runtime_fault", bench.send("fail", {"how": how}))
        assert error.detail["kind"] == kind
        assert await bench.journal.entries("counter") == []
        counted = f"runtime_fault{{kind={kind},runtime=python,subsystem=counter}}"
        assert bench.telemetry.counts()[counted] == 1
        assert await bench.send("add", {"n": 1}) == {"total": 1}

    run(test)


def test_a_refusal_is_the_handlers_answer_and_commits_nothing() -> None:
    async def test(bench: Bench) -> None:
        error = await refused("refused", bench.send("fail", {"how": "refuse"}))
        assert error.detail["code"] == "no"
        assert await bench.journal.entries("counter") == []

    run(test)


def test_a_message_whose_time_is_over_is_not_applied() -> None:
    async def test(bench: Bench) -> None:
        await bench.route("elixir")

        async def slow() -> None:
            await asyncio.sleep(0.05)

        bench.elixir.before = slow
        await refused("deadline_exceeded", bench.send("add", {"n": 1}, timeout_ms=20))
        assert await bench.journal.entries("counter") == []

    run(test)


def test_a_handler_cut_short_by_the_clients_deadline_is_not_at_fault() -> None:
    async def test(bench: Bench) -> None:
        loop = bench.send("fail", {"how": "loop"}, timeout_ms=30)
        assert (await refused("deadline_exceeded", loop)).retryable

    run(test)


def test_time_never_runs_backwards_for_a_key() -> None:
    async def test(bench: Bench) -> None:
        await bench.send("add", {"n": 1}, "m1")
        bench.now_ms -= 5000
        await bench.send("add", {"n": 1}, "m2")
        entries = await bench.journal.entries("counter")
        assert [entry["at_ms"] for _, entry in entries] == [1_000_000, 1_000_000]

    run(test)


def test_commands_of_one_key_do_not_compete_within_a_worker() -> None:
    async def test(bench: Bench) -> None:
        await bench.route("elixir")
        replies = await asyncio.gather(*(bench.send("add", {"n": 1}, f"m{i}") for i in range(50)))
        assert [reply["total"] for reply in replies] == list(range(1, 51))
        assert len(bench.elixir.calls) == 50

    run(test)


def test_internal_commands_are_not_for_clients() -> None:
    async def test(bench: Bench) -> None:
        await refused("unknown_operation", bench.send("add_later", {"n": 1}))
        assert await bench.send("add_later", {"n": 1}, internal=True) == {"total": 1}

    run(test)


def test_a_timer_that_was_replaced_meanwhile_is_dropped() -> None:
    async def test(bench: Bench) -> None:
        await bench.send("later", {"after_ms": 0, "n": 1}, "m1")
        [timer] = await bench.journal.due_timers("counter", 10, 1000)
        await bench.send("later", {"after_ms": 10, "n": 2}, "m2")
        message = Message(
            derived_id(timer.set_by, f"timer/{timer.id}"),
            "counter",
            "k",
            timer.operation,
            timer.request,
            timer.due_ms,
            timer.id,
            timer.set_by,
        )
        with pytest.raises(TimerGone):
            await bench.dispatcher.dispatch(message, timeout_ms=1000, internal=True)
        assert await bench.total() == 0

    run(test)


def test_a_query_may_name_the_runtime_to_ask_and_a_command_may_not() -> None:
    async def test(bench: Bench) -> None:
        assert await bench.send("total", {}, runtime="elixir") == {"total": 0, "log_length": 0}
        assert [call.operation for call in bench.elixir.calls] == ["total"]
        await refused("unknown_operation", bench.send("add", {"n": 1}, runtime="elixir"))

    run(test)


def test_a_handler_that_changes_what_it_was_given_changes_nothing_of_ours() -> None:
    def careless(state: Any, operation: str, request: Any, context: Any) -> Any:
        answer = counter(state, operation, request, context)
        state.clear()
        request.clear()
        return answer

    async def test(bench: Bench) -> None:
        bench.dispatcher._runtimes = {
            "python": PythonRuntime({"counter": careless}, budget_ms=100)
        }
        await bench.send("add", {"n": 3, "tag": ""}, "m1")
        [(_, entry)] = await bench.journal.entries("counter")
        assert entry["request"] == {"n": 3, "tag": ""}
        assert bench.registry.get("counter").initial_state["total"] == 0

    run(test)
