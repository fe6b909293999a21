"""Candidates with a fault each, found within 200 messages; none found where there is none."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from bridge.message import Context, Message, derived_random
from bridge.runtimes.python import Handler
from tests.moves.world import World, run
from tests.subsystems.counter.counter import handle as counter

MESSAGES = 200
RUNS = 5
ONE_IN = 20  # of the messages that a fault comes up in: 5 percent

Spoil = Callable[[Any, list[dict[str, Any]], Any], tuple[Any, Any, Any]]


def wrong_field(reply: Any, effects: list[dict[str, Any]], state: Any) -> tuple[Any, Any, Any]:
    return {**reply, "total": reply.get("total", 0) + 1}, effects, state


def wrong_order(reply: Any, effects: list[dict[str, Any]], state: Any) -> tuple[Any, Any, Any]:
    return reply, effects, {**state, "log": state["log"][::-1]}


def missing_effect(reply: Any, effects: list[dict[str, Any]], state: Any) -> tuple[Any, Any, Any]:
    return reply, effects[1:], state


def extra_effect(reply: Any, effects: list[dict[str, Any]], state: Any) -> tuple[Any, Any, Any]:
    return reply, [*effects, *effects[-1:]], state


def wrong_effect(reply: Any, effects: list[dict[str, Any]], state: Any) -> tuple[Any, Any, Any]:
    effects = copy.deepcopy(effects)
    effects[0]["payload"]["tag"] += "!"
    return reply, effects, state


def wrong_state(reply: Any, effects: list[dict[str, Any]], state: Any) -> tuple[Any, Any, Any]:
    return reply, effects, {**state, "total": state["total"] - 1}


def raises(reply: Any, effects: list[dict[str, Any]], state: Any) -> tuple[Any, Any, Any]:
    raise ValueError("sometimes")


def off_contract(reply: Any, effects: list[dict[str, Any]], state: Any) -> tuple[Any, Any, Any]:
    return {**reply, "total": str(reply.get("total"))}, effects, state


FAULTS: list[Spoil] = [
    *(wrong_field, wrong_order, missing_effect, extra_effect, wrong_effect, wrong_state),
    *(raises, off_contract),
]


def sometimes(spoil: Spoil, seed: int) -> Handler:
    """Return the counter with a fault in one of twenty messages: which ones, the seed says."""

    def handle(state: Any, operation: str, request: Any, context: Context) -> Any:
        reply, effects, after = counter(state, operation, request, context)
        if derived_random(f"{context.seed}/{seed}", 0) % ONE_IN == 0:
            return spoil(reply, effects, after)
        return reply, effects, after

    return handle


async def send(world: World, random: Random, n: int) -> None:
    request = {"n": random.randint(1, 9), "tag": f"t{n}"}
    message = Message(f"{random.random()}", "counter", f"k{n % 3}", "add", request)
    await world.dispatcher.dispatch(message, timeout_ms=2000)


@pytest.mark.parametrize("spoil", FAULTS, ids=lambda spoil: spoil.__name__)
def test_a_fault_in_one_of_twenty_messages_is_found_within_two_hundred(spoil: Spoil) -> None:
    found = 0
    for seed in range(RUNS):

        async def test(world: World, seed: int = seed) -> None:
            nonlocal found
            random = Random(seed)
            await world.start("shadow:200,canary:5,100")
            for n in range(MESSAGES):
                await send(world, random, n)
                if n % 50 == 0:  # as time would
                    await world.settled()
            found += (await world.settled())["verdict"]["outcome"] == "fail"

        run(test, sometimes(spoil, seed))
    assert found >= 0.95 * RUNS


def test_a_slow_candidate_is_found_within_two_hundred() -> None:
    async def test(world: World) -> None:
        async def pause() -> None:
            await asyncio.sleep(0.08)

        world.candidate.pause = pause
        await world.start("shadow:200,canary:5,100")
        random = Random(1)
        for n in range(MESSAGES // 2):
            await send(world, random, n)
        assert (await world.settled())["verdict"]["outcome"] == "fail"

    run(test)


def test_two_right_ones_raise_no_alarm_in_a_long_walk() -> None:
    async def test(world: World) -> None:
        await world.start("shadow:500,canary:5,25,50,100", auto=True)
        random, alarmed = Random(2), 0
        for n in range(3000):
            await send(world, random, n)
            if n % 50 == 0:
                status = await world.judged()
                alarmed += status["verdict"]["outcome"] == "fail"
                alarmed += status["phase"] == "rolled_back"
        assert (alarmed, status["phase"]) == (0, "moved")

    run(test)
