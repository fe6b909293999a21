"""Calls: what is asked is done, and `then` is told what came of it, once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bridge.activities.activity import ActivityAway, ActivityFailed, Attempt, NotRetryable
from bridge.errors import RuntimeFault
from bridge.journal.values import OutboxEntry
from bridge.message import JSON, derived_id
from tests.activities.bench import Bench, echo, end, hang, run
from tests.deadline import until


def test_then_is_told_the_reply_under_the_effects_id() -> None:
    async def test(bench: Bench) -> None:
        await bench.ask("m", "hello")
        assert await bench.told(1) == [{"id": "m/0", "reply": {"text": "hello", "attempt": 1}}]
        [attempt] = bench.activities.begun
        assert (attempt.id, attempt.subsystem, attempt.key) == ("m/0", "asker", "k")
        assert (attempt.activity, attempt.timeout_ms) == ("here", 5000)
        await bench.empty()

    run(test)


def test_what_then_is_told_stands_in_the_journal_as_a_message_that_derives_from_the_call() -> (
    None
):
    async def test(bench: Bench) -> None:
        await bench.ask("m", "hello", id="mine")
        told = await bench.told(1)
        [_, (_, entry)] = await bench.journal.entries("asker")
        assert (entry["operation"], entry["request"]) == ("told", told[0])
        assert (entry["id"], entry["timer"]) == (derived_id("m/0", "timer/mine"), "mine")
        assert told[0]["id"] == "mine"

    run(test)


def test_a_failed_attempt_is_made_again_under_the_same_id() -> None:
    async def second(attempt: Attempt) -> JSON:
        if attempt.number == 1:
            raise ActivityFailed("not the first")
        return await echo(attempt)

    async def test(bench: Bench) -> None:
        bench.activities.act = second
        await bench.ask("m", "hello")
        await until(lambda: bench.count("call_again") == 1)
        [entry] = await bench.journal.outbox("asker")
        assert (entry.attempts, entry.error) == (1, "not the first")
        assert 5 <= entry.due_ms - bench.now_ms <= 10
        await bench.later(10)
        assert (await bench.told(1))[0]["reply"] == {"text": "hello", "attempt": 2}
        assert [attempt.id for attempt in bench.activities.begun] == ["m/0", "m/0"]
        await bench.empty()

    run(test)


def test_after_its_last_attempt_then_is_told_the_error() -> None:
    async def failing(attempt: Attempt) -> JSON:
        raise ActivityFailed(f"no {attempt.number}", hint="x")

    async def test(bench: Bench) -> None:
        bench.activities.act = failing
        await bench.ask("m", "hello")
        for n in (1, 2):
            await until(lambda n=n: bench.count("call_again") == n)  # type: ignore[misc]
            await bench.later(20)
        [told] = await bench.told(1)
        assert told["error"] == {
            "code": "failed",
            "message": "no 3",
            "retryable": True,
            "detail": {"hint": "x", "attempts": 3},
        }
        await bench.empty()

    run(test)


def test_what_is_not_retryable_is_told_at_once() -> None:
    async def never(attempt: Attempt) -> JSON:
        raise NotRetryable("no use")

    async def test(bench: Bench) -> None:
        bench.activities.act = never
        await bench.ask("m", "hello")
        [told] = await bench.told(1)
        assert (told["error"]["message"], told["error"]["retryable"]) == ("no use", False)
        assert len(bench.activities.begun) == 1

    run(test)


@pytest.mark.parametrize(
    ("reply", "pointer"), [({"text": "x"}, ""), ({"text": 1, "attempt": 1}, "/text")]
)
def test_a_reply_off_its_contract_is_told_as_that(reply: Any, pointer: str) -> None:
    async def off(attempt: Attempt) -> JSON:
        return reply

    async def test(bench: Bench) -> None:
        bench.activities.act = off
        await bench.ask("m", "hello")
        [told] = await bench.told(1)
        assert told["error"]["code"] == "off_contract"
        assert told["error"]["detail"]["pointer"] == pointer
        assert len(bench.activities.begun) == 1

    run(test)


def test_a_call_that_is_not_answered_in_its_time_is_told_so_and_ended() -> None:
    async def test(bench: Bench) -> None:
        bench.activities.act = hang
        await bench.ask("m", "hello", timeout_ms=700)
        await until(lambda: bench.activities.begun)
        await bench.later(699)
        assert await bench.told(0) == []
        await bench.later(1)
        [told] = await bench.told(1)
        assert told["error"] == {
            "code": "timeout",
            "message": "here: no answer within 700 ms",
            "retryable": True,
            "detail": {},
        }
        await until(lambda: bench.activities.cancelled == ["m/0"])
        await bench.empty()

    run(test)


def test_a_later_commit_cancels_a_call_by_its_name() -> None:
    async def test(bench: Bench) -> None:
        bench.activities.act = hang
        await bench.ask("m", "hello", id="mine")
        await until(lambda: bench.activities.begun)
        await bench.send("s", "stop", {"id": "mine"})
        await until(lambda: bench.activities.cancelled == ["m/0"])
        await bench.empty()
        assert await bench.told(0) == []

    run(test)


def test_an_answer_that_comes_after_the_cancellation_is_told_to_nobody() -> None:
    async def test(bench: Bench) -> None:
        free = asyncio.Event()

        async def held(attempt: Attempt) -> JSON:
            await free.wait()
            return await echo(attempt)

        bench.activities.act = held
        await bench.ask("m", "hello", id="mine")
        await until(lambda: bench.activities.begun)
        await bench.send("s", "stop", {"id": "mine"})
        free.set()
        await bench.empty()
        assert bench.activities.cancelled == []
        assert await bench.told(0) == []

    run(test)


def test_a_call_of_the_same_name_takes_the_place_of_the_one_before() -> None:
    async def first_hangs(attempt: Attempt) -> JSON:
        return await (hang if attempt.id == "a/0" else echo)(attempt)

    async def test(bench: Bench) -> None:
        bench.activities.act = first_hangs
        await bench.ask("a", "one", id="mine")
        await until(lambda: bench.activities.begun)
        await bench.ask("b", "two", id="mine")
        assert [told["reply"]["text"] for told in await bench.told(1)] == ["two"]
        await until(lambda: bench.activities.cancelled == ["a/0"])
        await bench.empty()

    run(test)


def test_no_more_run_at_once_than_the_contract_allows_in_the_order_they_were_asked() -> None:
    async def test(bench: Bench) -> None:
        free = asyncio.Event()

        async def held(attempt: Attempt) -> JSON:
            await free.wait()
            return await echo(attempt)

        bench.activities.act = held
        for n in range(5):
            await bench.ask(f"m{n}", f"{n}")
            bench.now_ms += 1
        await until(lambda: len(bench.activities.begun) == 2)
        await bench.ask("m5", "5")
        await until(lambda: len(bench.journal.attempts._waiting["asker", "here"]) == 4)
        assert len(bench.activities.begun) == 2
        free.set()
        assert len(await bench.told(6)) == 6
        begun = [attempt.request["text"] for attempt in bench.activities.begun]
        assert begun[:2] == ["0", "1"]
        assert sorted(begun) == ["0", "1", "2", "3", "4", "5"]

    run(test, workers=2)


def test_while_nobody_is_there_it_waits_and_no_attempt_counts() -> None:
    async def test(bench: Bench) -> None:
        bench.activities.there = False
        await bench.ask("m", "hello")
        await until(lambda: bench.count("call_waits") == 1)
        bench.activities.there = True

        async def away(attempt: Attempt) -> JSON:
            raise ActivityAway("not now")

        bench.activities.act = away
        await bench.later(2000)
        await until(lambda: bench.count("call_waits") == 2)
        bench.activities.act = echo
        await bench.later(2000)
        assert (await bench.told(1))[0]["reply"] == {"text": "hello", "attempt": 1}

    run(test)


def test_an_attempt_that_says_nothing_for_too_long_is_given_up() -> None:
    async def test(bench: Bench) -> None:
        async def first_hangs(attempt: Attempt) -> JSON:
            return await (hang if attempt.number == 1 else echo)(attempt)

        bench.activities.act = first_hangs
        await bench.ask("m", "hello")
        await until(lambda: bench.count("call_again") == 1)
        [entry] = await bench.journal.outbox("asker")
        assert entry.error.startswith("no heartbeat for ")
        await bench.later(20)
        assert (await bench.told(1))[0]["reply"] == {"text": "hello", "attempt": 2}

    run(test)


def test_what_a_worker_left_in_the_middle_is_begun_again_by_another() -> None:
    async def test(bench: Bench) -> None:
        bench.activities.act = hang
        gone = asyncio.create_task(bench.worker().run())
        await bench.ask("m", "hello")
        await until(lambda: bench.activities.begun)
        bench.activities.act = echo
        await end(gone)
        assert bench.activities.cancelled == ["m/0"]
        other = asyncio.create_task(bench.worker().run())
        await bench.later(6000)
        assert (await bench.told(1))[0]["reply"] == {"text": "hello", "attempt": 2}
        await end(other)

    run(test, workers=0)


def test_the_timers_message_and_the_answers_are_the_same_message_so_one_of_them_counts() -> None:
    async def test(bench: Bench) -> None:
        free = asyncio.Event()

        async def held(attempt: Attempt) -> JSON:
            await free.wait()
            return await echo(attempt)

        bench.activities.act = held
        await bench.ask("m", "hello", timeout_ms=700)
        await until(lambda: bench.activities.begun)
        await bench.later(700)
        await bench.told(1)
        free.set()  # its answer comes all the same
        await bench.empty()
        assert len(await bench.told(1)) == 1

    run(test)


def test_a_call_asks_another_subsystem_whose_command_is_applied_once() -> None:
    async def test(bench: Bench) -> None:
        await bench.ask("m", "hello", "asker:other", operation="note")
        assert (await bench.told(1))[0]["reply"] == {"text": "hello", "attempt": 0}
        [noted] = await bench.told(1, key="other")
        assert noted["id"] == derived_id("m/0", "call")

    run(test)


def test_what_another_subsystem_refuses_is_told_with_its_reason() -> None:
    async def test(bench: Bench) -> None:
        await bench.ask("m", "no", "asker:other", operation="note")
        [told] = await bench.told(1)
        assert told["error"] == {
            "code": "refused",
            "message": "not that",
            "retryable": False,
            "detail": {"code": "not_that", "text": "no", "attempts": 1},
        }

    run(test)


@pytest.mark.parametrize(
    ("request_", "pointer"),
    [
        ({"to": "nothing", "text": "x"}, "/0/to"),
        ({"to": "here", "text": "x" * 21}, "/0/request/text"),
        ({"to": "here", "text": "x", "operation": "note"}, "/0/operation"),
        ({"to": "heartbeat:main", "text": "x", "operation": "tick"}, "/0/to"),
        ({"to": "asker:k", "text": "x"}, "/0"),
        ({"to": "here", "text": "x", "then": "nothing"}, "/0/then"),
        ({"to": "here", "text": "x", "then": "deaf"}, ""),
    ],
)
def test_a_call_off_its_contract_is_the_handlers_fault(request_: Any, pointer: str) -> None:
    async def test(bench: Bench) -> None:
        with pytest.raises(RuntimeFault) as raised:
            await bench.send("m", "ask", request_)
        assert raised.value.kind == "off_contract"
        assert raised.value.detail["pointer"] == pointer

    run(test)


def test_calls_hold_up_no_other_effect_and_wait_for_none() -> None:
    async def test(bench: Bench) -> None:
        bench.activities.act = hang
        await bench.ask("a", "one")
        await until(lambda: bench.activities.begun)
        bench.activities.act = echo
        await bench.ask("b", "two")
        assert (await bench.told(1))[0]["id"] == "b/0"
        waiting: list[OutboxEntry] = await bench.journal.outbox("asker")
        assert [entry.id for entry in waiting] == ["a/0"]

    run(test)
