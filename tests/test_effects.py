"""Effects and timers over the in-memory journal, with an executor that fails when told to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from bridge.journal.memory import MemoryJournal
from bridge.journal.values import Due, Shared
from bridge.message import Invocation, Judge, Outcome, RuntimeName, derived_id
from bridge.rotation import Rotation
from bridge.runtimes.python import PythonRuntime
from bridge.runtimes.runtime import unjudged
from bridge.targets import EffectFailed, backoff_ms
from tests.deadline import until
from tests.effects_bench import ATTEMPTS, NOT_NOW, Bench, failing, run
from tests.subsystems.counter.counter import handle as counter


def test_an_effect_arrives_with_its_id_and_the_time_of_its_commit() -> None:
    async def test(bench: Bench) -> None:
        await bench.send("m", "notify", {"count": 1})
        assert await bench.taken(1) == ["m/0"]
        [entry] = bench.inbox.taken
        assert (entry.subsystem, entry.key, entry.committed_ms) == ("counter", "k", 1_000_000)
        effect = {"effect": "inngest", "name": "counter/notified", "data": {"i": 0}, "id": "m/0"}
        assert entry.effect == effect
        await bench.done(1)
        assert await bench.waiting() == []

    run(test)


def test_the_effects_of_a_key_arrive_in_the_order_of_its_commits() -> None:
    async def test(bench: Bench) -> None:
        for id in ("a", "b", "c"):
            await bench.send(id, "notify", {"count": 2})
        assert await bench.taken(6) == ["a/0", "a/1", "b/0", "b/1", "c/0", "c/1"]

    run(test)


def test_a_failing_effect_holds_up_its_key_and_no_other() -> None:
    async def test(bench: Bench) -> None:
        bench.inbox.failure = failing("a/0")
        await bench.send("a", "notify", {"count": 2}, key="k")
        await bench.send("b", "notify", {"count": 2}, key="other")
        assert await bench.taken(2) == ["b/0", "b/1"]
        await bench.done(2)
        assert [entry.id for entry in await bench.waiting()] == ["a/0", "a/1"]

    run(test)


def test_an_unordered_effect_waits_for_none() -> None:
    async def test(bench: Bench) -> None:
        bench.inbox.failure = failing("a/0")
        await bench.send("a", "notify", {"count": 1})
        await bench.failed(1)
        await bench.send("b", "notify", {"count": 2, "unordered": True})
        assert sorted(await bench.taken(2)) == ["b/0", "b/1"]
        await bench.done(2)
        assert [entry.id for entry in await bench.waiting()] == ["a/0"]

    run(test)


def test_a_failed_effect_is_tried_again_after_a_pause_and_not_before() -> None:
    async def test(bench: Bench) -> None:
        bench.inbox.failure = lambda id: NOT_NOW if bench.inbox.asked == ["a/0"] else None
        await bench.send("a", "notify", {"count": 1})
        await bench.failed(1)
        [entry] = await bench.waiting()
        assert (entry.attempts, entry.error) == (1, "not now")
        assert 125 <= entry.due_ms - bench.now_ms <= 250
        await bench.later(124)
        await bench.send("b", "notify", {"count": 1}, key="other")
        assert await bench.taken(1) == ["b/0"]
        await bench.later(126)
        assert await bench.taken(2) == ["b/0", "a/0"]

    run(test)


@pytest.mark.parametrize(("attempts", "longest_ms"), [(0, 250), (1, 500), (20, 60_000)])
def test_the_pause_doubles_up_to_a_minute(attempts: int, longest_ms: int) -> None:
    waits = [backoff_ms(attempts) for _ in range(200)]
    assert min(waits) >= 125
    assert longest_ms / 2 < max(waits) <= longest_ms


def test_after_its_last_attempt_an_effect_is_dead_and_releases_the_next() -> None:
    async def test(bench: Bench) -> None:
        bench.inbox.failure = failing("a/0")
        await bench.send("a", "notify", {"count": 2})
        for attempt in range(1, ATTEMPTS + 1):
            await bench.failed(attempt)
            await bench.later(60_000)
        assert await bench.taken(1) == ["a/1"]
        assert bench.inbox.asked == ["a/0", "a/0", "a/0", "a/1"]
        [letter] = await bench.journal.dead("counter")
        assert (letter.id, letter.what, letter.kind, letter.attempts) == (
            "a/0",
            "effect",
            "inngest",
            3,
        )
        assert letter.error == "not now"

    run(test)


def test_what_can_never_succeed_is_dead_at_once_and_releases_the_next() -> None:
    async def test(bench: Bench) -> None:
        bench.inbox.failure = failing("a/0", EffectFailed("never", final=True))
        await bench.send("a", "notify", {"count": 2})
        assert await bench.taken(1) == ["a/1"]
        assert bench.inbox.asked == ["a/0", "a/1"]
        [letter] = await bench.journal.dead("counter")
        assert (letter.id, letter.attempts, letter.error) == ("a/0", 1, "never")

    run(test)


def test_a_redriven_effect_is_done() -> None:
    async def test(bench: Bench) -> None:
        bench.inbox.failure = lambda id: NOT_NOW
        await bench.send("a", "notify", {"count": 1})
        for attempt in range(1, ATTEMPTS + 1):
            await bench.failed(attempt)
            await bench.later(60_000)
        bench.inbox.failure = lambda id: None
        assert await bench.journal.redrive("counter", "a/0")
        await bench.later(0)
        assert await bench.taken(1) == ["a/0"]

    run(test)


class Others(MemoryJournal):
    """Beside this worker there are `workers`; `asked` counts what is asked for a subsystem."""

    workers = frozenset({"one", "other"})
    asked = 0

    async def shared(self, since_ms: int) -> Shared:
        return (await super().shared(since_ms))._replace(workers=self.workers)

    async def due(self, subsystem: str, kinds: Sequence[str]) -> Due:
        self.asked += 1
        return await super().due(subsystem, kinds)


@pytest.mark.parametrize("why", ["shared", "gone", "in turn"])
def test_work_of_another_worker_is_taken_up(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.effects.LOOK_S", 0.002)
    kicks: list[str] = []

    async def test(bench: Bench) -> None:
        journal = bench.journal
        assert isinstance(journal, Others)
        await until(lambda: journal.asked > 3)  # those of the start, and others in turn
        if why != "in turn":
            monkeypatch.setattr(Rotation, "next", lambda self: [])
        bench.dispatcher._committed = kicks.append  # the commit is another worker's
        await bench.send("m", "notify", {"count": 1})
        if why == "shared":
            await journal.share("counter")
        elif why == "gone":
            journal.workers = frozenset({"one"})
        assert await bench.taken(1) == ["m/0"]
        assert kicks == ["counter"]

    run(test, Others)


def test_a_timer_fires_when_it_is_due_though_nobody_looks_in_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bridge.effects.LOOK_S", 3600)

    async def test(bench: Bench) -> None:
        await bench.send("m", "later", {"after_ms": 20, "n": 7})
        bench.now_ms += 20
        await until(lambda: bench.count("committed") == 2)

    run(test)


def test_what_nothing_executes_is_held_until_something_does() -> None:
    async def test(bench: Bench) -> None:
        target = bench.effects._targets.pop("inngest")
        await bench.send("a", "notify", {"count": 1})
        held: list[bool] = []
        while held != [True]:
            held = [entry.held for entry in await bench.waiting()]
            await asyncio.sleep(0)
        bench.effects._targets["inngest"] = target
        await bench.later(0)
        assert await bench.taken(1) == ["a/0"]

    run(test)


def test_an_executor_with_a_defect_is_counted_and_ends_nothing() -> None:
    async def test(bench: Bench) -> None:
        def unforeseen(id: str) -> EffectFailed | None:
            if id == "a/0":
                raise KeyError("unforeseen")
            return None

        bench.inbox.failure = unforeseen
        await bench.send("a", "notify", {"count": 1}, key="k")
        await bench.failed(1)
        await bench.send("b", "notify", {"count": 1}, key="other")
        assert await bench.taken(1) == ["b/0"]
        await bench.done(1)
        [entry] = await bench.waiting()
        assert (entry.id, entry.error) == ("a/0", "KeyError: 'unforeseen'")
        assert bench.count("defect") == 1

    run(test)


def test_a_timer_fires_when_it_is_due_with_an_id_derived_from_what_set_it() -> None:
    async def test(bench: Bench) -> None:
        await bench.send("m", "later", {"after_ms": 500, "n": 7})
        await bench.later(500)
        await until(lambda: bench.count("committed") == 2)
        _, (_, entry) = await bench.journal.entries("counter")
        assert entry["id"] == derived_id("m/0", "timer/later")
        assert (entry["operation"], entry["request"]) == ("add_later", {"n": 7})
        assert await bench.journal.timers("counter") == []

    run(test)


def test_a_timer_that_was_not_reachable_waits_as_long_as_it_takes() -> None:
    async def test(bench: Bench) -> None:
        await bench.send("m", "later", {"after_ms": 0, "n": 7})
        await bench.journal.set_route("counter", "elixir", None)
        for attempt in range(1, ATTEMPTS + 2):
            await bench.failed(attempt, "timer_failed")
            await bench.later(60_000)
        assert await bench.journal.dead("counter") == []
        await bench.journal.set_route("counter", "python", None)
        await bench.later(60_000)
        await until(lambda: bench.count("committed") == 2)

    run(test)


def test_a_defect_behind_a_timer_counts_as_an_attempt_and_goes_to_the_dead() -> None:
    class Broken:
        name: RuntimeName = "elixir"

        def available(self, subsystem: str) -> bool:
            return True

        async def handle(self, invocation: Invocation, judge: Judge = unjudged) -> Outcome:
            raise KeyError(42)

    async def test(bench: Bench) -> None:
        bench.runtimes["elixir"] = Broken()
        await bench.send("m", "later", {"after_ms": 0, "n": 7})
        await bench.journal.set_route("counter", "elixir", None)
        for attempt in range(1, ATTEMPTS + 1):
            await bench.failed(attempt, "timer_failed")
            await bench.later(60_000)
        (letter,) = await bench.journal.dead("counter")
        assert (letter.what, letter.attempts) == ("timer", ATTEMPTS)
        assert letter.error == "internal: KeyError: 42"

    run(test)


@pytest.mark.parametrize(("how", "attempts"), [("refuse", 1), ("crash", ATTEMPTS)])
def test_a_timer_whose_message_keeps_failing_goes_to_the_dead(how: str, attempts: int) -> None:
    async def test(bench: Bench) -> None:
        def failing(state: Any, operation: str, request: Any, context: Any) -> Any:
            reply, effects, state = counter(state, operation, request, context)
            timer = {**effects[0], "operation": "fail", "request": {"how": how}}
            return reply, [timer], state

        bench.runtimes["python"] = PythonRuntime({"counter": failing}, budget_ms=100)
        await bench.send("m", "later", {"after_ms": 0, "n": 7})
        bench.runtimes["python"] = PythonRuntime({"counter": counter}, budget_ms=100)
        for attempt in range(1, attempts + 1):
            await bench.failed(attempt, "timer_failed")
            await bench.later(60_000)
        [letter] = await bench.journal.dead("counter")
        assert (letter.id, letter.what, letter.attempts) == ("m/0", "timer", attempts)
        assert await bench.journal.timers("counter") == []

    run(test)
