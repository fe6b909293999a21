"""A move from its first shadow to the new owner and back, in one process."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from bridge.errors import BridgeError, RuntimeUnavailable
from bridge.message import Context, Message
from bridge.moves.assignment import bucket_of
from tests.moves.world import World, run
from tests.subsystems.counter.counter import handle as counter


def test_a_move_by_itself_goes_from_shadow_to_the_new_owner() -> None:
    async def test(world: World) -> None:
        await world.start(auto=True)
        stages: list[str] = []
        for _ in range(400):
            await world.add()
            status = await world.judged()
            if not stages or stages[-1] != status["stage"]:
                stages.append(status["stage"])
            if status["phase"] == "moved":
                break
        assert stages == ["shadow", "canary 50 %", "canary 100 %", "moved"]
        assert (status["owner"], status["evidence"]["different"]) == ("elixir", 0)
        assert await world.total() == world.sent - 1
        entries = [entry for _, entry in await world.journal.entries("counter")]
        assert {(e["runtime"], e["reason"]) for e in entries} == {
            *(("python", "owner"), ("elixir", "canary")),
        }
        history = await world.mover.history("counter")
        assert [(e["event"], e["by"]) for e in history] == [
            ("start", "ann"),
            *[("promote", "bridge")] * 3,
        ]
        assert [e["epoch"] for e in history] == [2, 3, 4, 5]
        assert "differ" in history[-1]["why"]
        status = await world.order("rollback", why="for fun")
        assert (status["owner"], status["phase"]) == ("python", "rolled_back")

    run(test)


def test_a_canary_gives_each_bucket_to_its_owner_and_compares_both_ways() -> None:
    async def test(world: World) -> None:
        await world.start("canary:30,100", samples=1000)
        for n in range(100):
            await world.add(id=f"id-{n}")
        entries = [entry for _, entry in await world.journal.entries("counter")]
        for entry in entries:
            mine = bucket_of("counter", entry["id"]) < 30
            assert entry["runtime"] == ("elixir" if mine else "python")
            assert entry["reason"] == ("canary" if mine else "owner")
        status = await world.settled()
        assert status["evidence"]["compared"] == 100
        assert status["evidence"]["asked"] == sum(e["reason"] == "canary" for e in entries)

    run(test)


def test_a_shadow_gets_the_state_the_owner_had_and_changes_nothing() -> None:
    async def test(world: World) -> None:
        await world.add(5)
        await world.start()
        await world.add(7)
        await world.total()
        status = await world.settled()
        assert [call.state["total"] for call in world.candidate.calls] == [5, 12]
        assert world.candidate.calls[0].context.message_id == "m2"
        assert (status["evidence"]["compared"], status["evidence"]["different"]) == (2, 0)
        assert len(await world.journal.entries("counter")) == 2

    run(test)


def test_refusals_are_compared_too() -> None:
    async def test(world: World) -> None:
        await world.start()
        message = Message("r1", "counter", "k", "fail", {"how": "refuse"})
        with pytest.raises(BridgeError):
            await world.dispatcher.dispatch(message, timeout_ms=2000)
        status = await world.settled()
        assert (status["evidence"]["compared"], status["evidence"]["different"]) == (1, 0)

    run(test)


def wrong_total(state: Any, operation: str, request: Any, context: Context) -> Any:
    reply, effects, after = counter(state, operation, request, context)
    if operation == "add" and request["n"] == 13:
        reply = {"total": reply["total"] + 1}
    return reply, effects, after


def test_a_difference_fails_the_verdict_and_is_grouped_with_an_example() -> None:
    async def test(world: World) -> None:
        await world.start()
        for n in (1, 13, 2, 13):
            await world.add(n)
        status = await world.settled()
        assert status["verdict"]["outcome"] == "fail"
        [group] = status["differences"]
        assert (group["operation"], group["pointer"], group["kind"], group["messages"]) == (
            *("add", "/reply/total", "value"),
            2,
        )
        assert group["example"]["owner"] == "14"
        assert group["example"]["candidate"] == "15"
        assert world.noted == ["counter"]
        # By hand it stays, to collect more; nothing is at risk.
        assert (await world.judged())["phase"] == "shadow"
        with pytest.raises(BridgeError, match="the evidence is fail"):
            await world.order("promote")
        accepted = {
            "id": "a1",
            "operation": "add",
            "pointer": "/reply/total",
            "kind": "value",
            "owner": "ann",
            "reason": "wanted",
            "until_ms": world.now_ms + 1,
            "at_ms": 0,
        }
        await world.journal.moves.accept("counter", "a1", accepted)
        status = await world.mover.status("counter")
        assert status["verdict"]["outcome"] == "inconclusive"
        assert status["evidence"]["accepted"] == 2

    run(test, wrong_total)


def test_a_canary_is_taken_back_when_the_evidence_turns_also_on_hold() -> None:
    async def test(world: World) -> None:
        await world.start("canary:50,100")
        await world.add(1)
        await world.order("hold")
        assert (await world.judged())["stage"] == "canary 50 %, on hold"
        await world.add(13)
        status = await world.judged()
        assert (status["phase"], status["owner"]) == ("rolled_back", "python")
        assert status["move"]["by"] == "bridge"

    run(test, wrong_total)


def crashing(state: Any, operation: str, request: Any, context: Context) -> Any:
    raise ValueError("no")


def test_a_candidate_that_crashes_in_a_canary_costs_no_client_an_error() -> None:
    async def test(world: World) -> None:
        await world.start("canary:100")
        assert await world.add(3) == {"total": 3}
        [(_, entry)] = await world.journal.entries("counter")
        assert (entry["runtime"], entry["reason"]) == ("python", "fallback")
        status = await world.judged()
        assert status["phase"] == "rolled_back"
        assert status["differences"][0]["kind"] == "crashed"

    run(test, crashing)


def off_contract(state: Any, operation: str, request: Any, context: Context) -> Any:
    return {"total": "many"}, [], state


def test_a_violated_contract_ends_even_a_shadow_by_hand() -> None:
    async def test(world: World) -> None:
        await world.start()
        await world.add()
        status = await world.judged()
        assert status["phase"] == "rolled_back"
        assert "broke the contract" in status["move"]["why"]

    run(test, off_contract)


def test_a_candidate_that_goes_away_again_and_again_is_taken_back() -> None:
    async def test(world: World) -> None:
        await world.start()
        world.candidate.gone = True
        for _ in range(3):
            await world.add()
            world.now_ms += 2000
            await world.settled()
        assert (await world.judged())["phase"] == "rolled_back"

    run(test)


def test_a_candidate_that_does_not_answer_delays_nobody() -> None:
    async def test(world: World) -> None:
        never = asyncio.Event()

        async def pause() -> None:
            await never.wait()

        world.candidate.pause = pause
        await world.start()
        async with asyncio.timeout(5):
            for n in range(300):
                await world.add(key=f"k{n}")
                await asyncio.sleep(0)
        assert len(world.candidate.calls) == 8
        await world.shadow.flush()
        status = await world.mover.status("counter")
        assert status["evidence"]["dropped"] == 300 - 8 - 100
        assert status["phase"] == "shadow"
        never.set()

    run(test)


def test_two_operators_at_once_step_a_move_once() -> None:
    async def test(world: World) -> None:
        await world.start("canary:10,20,30")
        both = await asyncio.gather(
            *(world.order("promote", anyway=True, by=who) for who in ("ann", "bob")),
            return_exceptions=True,
        )
        refused = [answer for answer in both if isinstance(answer, BridgeError)]
        assert len(refused) <= 1
        status = await world.mover.status("counter")
        # One after the other is two steps; at once it is one, and the other is told.
        assert status["epoch"] == 4 - len(refused)

    run(test)


def test_what_changed_meanwhile_is_refused_with_who_did_it() -> None:
    async def test(world: World) -> None:
        await world.start("canary:10,20")
        looked = await world.mover._look("counter")
        await world.order("hold", by="bob")
        assert await world.mover._apply(looked, "promote", "ann", "") is False
        with pytest.raises(BridgeError, match=r"bob made it canary 10 %, on hold \(hold\)"):
            await world.mover._changed("counter")

    run(test)


def test_a_route_by_hand_is_refused_while_a_move_runs_and_noted_else() -> None:
    async def test(world: World) -> None:
        await world.start()
        with pytest.raises(BridgeError, match="bridge move abort counter"):
            await world.journal.set_route("counter", "elixir", None)
        await world.order("abort", why="another day")
        await world.journal.set_route("counter", "elixir", None, by="bob", why="I know")
        history = await world.mover.history("counter")
        assert [(e["event"], e["by"], e["why"]) for e in history] == [
            ("start", "ann", ""),
            ("abort", "ann", "another day"),
            ("route", "bob", "I know"),
        ]

    run(test)


@pytest.mark.parametrize(
    ("order", "text"),
    [
        ({"to": "python"}, "owns counter already"),
        ({"to": "typescript"}, "no implementation of counter"),
        ({"to": "ruby"}, "no runtime 'ruby'"),
        ({"to": "elixir", "plan": "canary:0"}, "1 to 100 percent"),
        ({"to": "elixir", "plan": "shadow:10", "below": 0.01}, "472 of them"),
    ],
)
def test_what_cannot_work_is_refused_at_the_start(order: dict[str, Any], text: str) -> None:
    async def test(world: World) -> None:
        with pytest.raises(BridgeError, match=text):
            await world.order("start", **order)
        world.candidate.here = False
        with pytest.raises(BridgeError):
            await world.start()

    run(test)


def test_a_move_that_runs_is_not_begun_again() -> None:
    async def test(world: World) -> None:
        await world.start()
        with pytest.raises(BridgeError, match="is in shadow: `start` is not possible"):
            await world.start()

    run(test)


def test_another_build_of_the_candidate_begins_the_evidence_anew() -> None:
    async def test(world: World) -> None:
        await world.start()
        world.owner.replace("counter", counter, "mine")
        world.candidate.inner.replace("counter", counter, "one")
        for _ in range(5):
            await world.add()
        assert (await world.settled())["evidence"]["compared"] == 5
        world.candidate.inner.replace("counter", counter, "two")
        await world.add()
        evidence = (await world.settled())["evidence"]
        assert (evidence["compared"], evidence["build"], evidence["restarts"]) == (1, "two", 1)
        world.owner.replace("counter", counter, "mine again")
        await world.add()
        evidence = (await world.settled())["evidence"]
        assert (evidence["compared"], evidence["build"], evidence["restarts"]) == (1, "two", 2)

    run(test)


def test_a_reload_keeps_the_move_and_its_phase() -> None:
    async def test(world: World) -> None:
        await world.start()
        route = await world.journal.renew_route("counter")
        assert (route.phase, route.candidate, route.epoch) == ("shadow", "elixir", 3)
        await world.order("hold")
        assert (await world.mover.status("counter"))["epoch"] == 4

    run(test)


def test_a_move_does_not_go_on_under_another_contract() -> None:
    async def test(world: World) -> None:
        await world.start(auto=True)
        standing = await world.journal.moves.standing("counter")
        assert standing.move is not None
        route = replace(standing.route, epoch=standing.route.epoch + 1)
        await world.journal.moves.change(route, {**standing.move, "contract": "older"}, {})
        await world.mover.judge("counter")
        status = await world.mover.status("counter")
        assert status["phase"] == "rolled_back"
        assert "the contract is another one" in status["move"]["why"]

    run(test)


def test_a_redis_that_is_away_is_not_the_candidates_fault() -> None:
    async def test(world: World) -> None:
        await world.start()

        async def away() -> None:
            raise RuntimeUnavailable("elixir", "Redis does not answer", shared=True)

        world.candidate.pause = away
        for _ in range(4):
            await world.add()
            world.now_ms += 2000
            await world.settled()
        status = await world.judged()
        assert (status["phase"], status["evidence"]["losses"]) == ("shadow", 0)
        assert status["evidence"]["missed"] == 4

    run(test)


def by_key(world: World) -> None:
    contracts = world.registry._contracts
    contracts["counter"] = replace(contracts["counter"], assign="key")


def test_by_key_a_step_that_moves_none_is_passed_over_and_a_plan_of_such_refused() -> None:
    async def test(world: World) -> None:
        by_key(world)
        bucket = bucket_of("counter", "k")
        assert 5 < bucket < 95
        await world.add()
        with pytest.raises(BridgeError, match="no share of this plan moves one: 5 % is 0 keys"):
            await world.start("shadow:1,canary:5")
        await world.start(f"shadow:1,canary:5,{bucket},{bucket + 1},100", samples=1, auto=True)
        await world.add()
        status = await world.judged()
        assert status["stage"] == f"canary {bucket + 1} %"
        await world.add()
        # All of the keys there are, are moved: 100 % would move none of them more.
        assert (await world.judged())["phase"] == "moved"

    run(test)


def test_by_key_a_key_is_whole_on_one_side() -> None:
    async def test(world: World) -> None:
        by_key(world)
        keys = [f"key-{n}" for n in range(12)]
        for key in keys:
            await world.add(key=key)
        await world.start("canary:50", samples=1000)
        for _ in range(3):
            for key in keys:
                await world.add(key=key)
        entries = [entry for _, entry in await world.journal.entries("counter")][12:]
        for key in keys:
            runtimes = {entry["runtime"] for entry in entries if entry["key"] == key}
            assert runtimes == {"elixir" if bucket_of("counter", key) < 50 else "python"}
        assert {entry["runtime"] for entry in entries} == {"python", "elixir"}

    run(test)


def test_runs_of_a_key_are_one_at_a_time_as_its_messages_are() -> None:
    async def test(world: World) -> None:
        under_way = most = 0

        async def pause() -> None:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.001)
            under_way -= 1

        world.candidate.pause = pause
        await world.start()
        for _ in range(20):
            await world.add(key="one")
        assert (await world.settled())["evidence"]["compared"] == 20
        assert most == 1
        for n in range(20):
            await world.add(key=f"k{n}")
        assert (await world.settled())["evidence"]["compared"] == 40
        assert most == 8

    run(test)
