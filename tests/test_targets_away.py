"""A target that is away is waited for, and costs one attempt however many wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from bridge.targets import EffectFailed, TargetAway
from tests.deadline import DEADLINE_S, until
from tests.effects_bench import ATTEMPTS, Bench, failing, run

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
