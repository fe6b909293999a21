"""Effects and timers over the in-memory journal, with an executor that fails when told to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bridge.contracts.registry import Registry
from bridge.dispatch import Dispatcher
from bridge.effects import Effects
from bridge.journal.memory import MemoryJournal
from bridge.journal.store import OutboxEntry
from bridge.message import Invocation, Judge, Message, Outcome, RuntimeName, derived_id
from bridge.runtimes.python import PythonRuntime
from bridge.runtimes.runtime import Runtime, unjudged
from bridge.targets import EffectFailed, Executor, TargetAway, backoff_ms
from bridge.telemetry import Telemetry
from tests.deadline import DEADLINE_S, until
from tests.subsystems.counter.counter import handle as counter

SUBSYSTEMS = Path(__file__).parent / "subsystems"
ATTEMPTS = 3
LEASE_MS = 10_000


class Inbox:
    """Executes effects; `failure` says how one fails, None if it does not, `away` that all do."""

    def __init__(self, together: int = 1) -> None:
        self.together = together
        self.away: TargetAway | None = None
        self.calls: list[list[str]] = []
        self.asked: list[str] = []
        self.taken: list[OutboxEntry] = []
        self.failure: Callable[[str], EffectFailed | None] = lambda id: None

    @property
    def ids(self) -> list[str]:
        return [entry.id for entry in self.taken]

    async def __call__(self, entries: Sequence[OutboxEntry]) -> None:
        self.calls.append([entry.id for entry in entries])
        self.asked += self.calls[-1]
        if self.away is not None:
            raise self.away
        for entry in entries:
            failure = self.failure(entry.id)
            if failure is not None:
                raise failure
        self.taken += entries


NOT_NOW = EffectFailed("not now")


def failing(id: str, how: EffectFailed = NOT_NOW) -> Callable[[str], EffectFailed | None]:
    return lambda asked: how if asked == id else None


class Bench:
    """Dispatcher, journal and effects; `now_ms` is the journal's clock."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000
        self.inbox = Inbox()
        self.journal = MemoryJournal(clock=lambda: self.now_ms)
        self.telemetry = Telemetry()
        self.runtimes: dict[RuntimeName, Runtime] = {
            "python": PythonRuntime({"counter": counter}, budget_ms=100)
        }
        self.dispatcher = Dispatcher(
            Registry.load(SUBSYSTEMS),
            self.journal,
            self.runtimes,
            self.telemetry,
            committed=lambda name: self.effects.kick(name),
        )
        self.executors: dict[str, Executor] = {"inngest": self.inbox}
        self.effects = Effects(
            self.journal,
            self.dispatcher,
            self.executors,
            ["counter"],
            self.telemetry,
            lease_ms=LEASE_MS,
            attempts=ATTEMPTS,
            timeout_ms=2000,
        )

    async def send(self, id: str, operation: str, request: Any, key: str = "k") -> Any:
        message = Message(id, "counter", key, operation, request)
        return await self.dispatcher.dispatch(message, timeout_ms=2000)

    async def later(self, ms: int) -> None:
        """Let time pass; effects and timers that are due by then are looked for at once."""
        self.now_ms += ms
        self.effects.kick("counter")

    async def asked(self, count: int) -> list[str]:
        await until(lambda: len(self.inbox.asked) >= count)
        return self.inbox.asked

    async def taken(self, count: int) -> list[str]:
        await until(lambda: len(self.inbox.taken) >= count)
        return self.inbox.ids

    async def failed(self, times: int, name: str = "effect_failed") -> None:
        await until(lambda: self.count(name) == times)

    async def done(self, effects: int) -> None:
        """Wait until so many left the outbox: a receiver has an effect a moment before."""
        await until(lambda: self.count("effect_done") == effects)

    def count(self, name: str) -> int:
        return sum(n for text, n in self.telemetry.counts().items() if text.startswith(name))

    async def waiting(self) -> list[OutboxEntry]:
        return await self.journal.outbox("counter")


def run(test: Callable[[Bench], Awaitable[None]]) -> None:
    async def main() -> None:
        bench = Bench()
        await bench.journal.set_route("counter", "python", None)
        work = asyncio.create_task(bench.effects.run())
        try:
            await test(bench)
            assert not work.done()
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    asyncio.run(main())


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


# -- a target that is away -----------------------------------------------------------------------
AWAY = TargetAway("nobody is there")


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have who waits for a target look at the journal's clock more often."""
    monkeypatch.setattr("bridge.targets.LOOK_S", 0.002)


@pytest.mark.usefixtures("soon")
def test_a_target_that_is_away_costs_one_attempt_however_many_wait_and_kills_none() -> None:
    async def test(bench: Bench) -> None:
        bench.inbox.away = AWAY
        for n in range(300):
            await bench.send(f"m{n}", "notify", {"count": 1, "unordered": True}, key=f"k{n % 7}")
        await until(lambda: bench.count("target_away") == 1)
        for attempt in range(1, 4 * ATTEMPTS):  # more than an effect has that fails
            await bench.asked(attempt)
            before = await bench.journal.targets.state("inngest")
            assert before.attempts <= attempt
            assert 0 < before.wait_ms <= 10_000
            await bench.later(before.wait_ms - 1)
            await asyncio.sleep(0.02)
            assert len(bench.inbox.calls) == attempt, "tried before its time"
            await bench.later(1)
        assert {len(call) for call in bench.inbox.calls} == {1}
        tally = await bench.journal.tally("counter")
        assert (tally.held + tally.waiting, tally.dead) == (300, 0)
        assert tally.error == "nobody is there"
        bench.inbox.away = None
        await bench.later(10_000)
        assert len(set(await bench.taken(300))) == 300
        await until(lambda: bench.count("target_back") == 1)
        assert (await bench.journal.targets.state("inngest")).since_ms == 0

    run(test)


@pytest.mark.usefixtures("soon")
def test_order_per_key_outlasts_an_outage() -> None:
    async def test(bench: Bench) -> None:
        bench.inbox.away = AWAY
        expected: dict[str, list[str]] = {}
        for n in range(60):
            key = f"k{n % 5}"
            await bench.send(f"m{n}", "notify", {"count": 2}, key=key)
            expected.setdefault(key, []).extend((f"m{n}/0", f"m{n}/1"))
        await until(lambda: bench.count("target_away") == 1)
        bench.inbox.away = None
        await bench.later(10_000)
        await bench.taken(120)
        found: dict[str, list[str]] = {}
        for entry in bench.inbox.taken:
            found.setdefault(entry.key, []).append(entry.id)
        assert found == expected

    run(test)


def test_the_pause_a_target_asks_for_is_kept() -> None:
    async def test(bench: Bench) -> None:
        bench.inbox.away = TargetAway("429", retry_after_ms=120_000)
        await bench.send("m", "notify", {"count": 1})
        await until(lambda: bench.count("target_away") == 1)
        assert (await bench.journal.targets.state("inngest")).wait_ms == 120_000

    run(test)


def together(count: int, *effects: tuple[str, str]) -> Callable[[Bench], Awaitable[None]]:
    """Return a test's beginning: effects of keys wait while the first call is under way."""

    async def begin(bench: Bench) -> None:
        bench.inbox.together = count
        bench.effects._targets["inngest"]._size = count
        target = bench.effects._targets["inngest"]
        async with target._one:
            for id, key in effects:
                await bench.send(id, "notify", {"count": 1}, key=key)

    return begin


def test_what_waits_goes_in_one_call_and_a_refusal_is_found_for_the_one_effect() -> None:
    async def test(bench: Bench) -> None:
        ids = [(f"m{n}", f"k{n % 4}") for n in range(16)]
        bench.inbox.failure = failing("m5/0", EffectFailed("not this one", final=True))
        await together(100, *ids)(bench)
        taken = await bench.taken(15)
        assert sorted(taken) == sorted(f"{id}/0" for id, _ in ids if id != "m5")
        for key in range(4):
            order = [f"m{n}/0" for n in range(key, 16, 4) if n != 5]
            assert [id for id in taken if id in order] == order
        assert len(taken) == len(set(taken))
        assert len(bench.inbox.calls) < 15
        [letter] = await bench.journal.dead("counter")
        assert (letter.id, letter.error, letter.attempts) == ("m5/0", "not this one", 1)

    run(test)


def test_behind_an_effect_that_fails_for_now_nothing_of_its_key_goes() -> None:
    async def test(bench: Bench) -> None:
        bench.inbox.failure = failing("m1/0")
        await together(100, *((f"m{n}", f"k{n % 2}") for n in range(8)))(bench)
        assert sorted(await bench.taken(4)) == ["m0/0", "m2/0", "m4/0", "m6/0"]
        assert [entry.id for entry in await bench.waiting()] == [f"m{n}/0" for n in (1, 3, 5, 7)]

    run(test)


@pytest.mark.usefixtures("soon")
def test_one_effect_at_which_the_target_breaks_each_time_keeps_no_other_key_waiting() -> None:
    async def test(bench: Bench) -> None:
        def breaks(id: str) -> EffectFailed | None:
            if id == "m5/0":
                raise TargetAway("500")
            return None

        bench.inbox.failure = breaks
        await together(100, *((f"m{n}", f"k{n}") for n in range(40)))(bench)
        async with asyncio.timeout(DEADLINE_S):
            while len(bench.inbox.taken) < 39:
                await bench.later(10_000)
                await asyncio.sleep(0.01)
        assert sorted(bench.inbox.ids) == sorted(f"m{n}/0" for n in range(40) if n != 5)
        [entry] = await bench.waiting()
        assert (entry.id, entry.error) == ("m5/0", "500")
        assert await bench.journal.dead("counter") == []

    run(test)
