"""The session's outlet on real Redises: five fields, a prompt, each pushed once."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from asyncio.subprocess import PIPE
from typing import Any

import pytest

from bridge.contracts.files import ROOT
from bridge.joelclaw.push import envelope_id
from tests.deadline import DEADLINE_S, until
from tests.joelclaw.outlet.world import World, run


def test_a_session_gets_all_five_fields_and_a_prompt() -> None:
    async def test(world: World) -> None:
        await world.emit("Look at it.", origin_session="telegram:7")
        members = [{"id": "e", "type": "a.b", "source": "s", "payload": {"deep": [1]}, "ts": 1}]
        await world.commit(
            "triage.digest", {"count": 1, "by_type": {"a.b": 1}, "members": members}
        )
        world.start("one", world.session())
        await world.until_delivered()
        first, second = await world.pushed()
        assert (first["type"], first["source"]) == ("triage.prompt", "bridge/outlet")
        assert first["payload"] == {
            "prompt": "Look at it.",
            "event_ids": [],
            "origin_session": "telegram:7",
            "originSession": "telegram:7",
        }
        assert abs(first["ts"] - time.time() * 1000) < DEADLINE_S * 1000
        assert (second["type"], second["payload"]["prompt"]) == (
            "triage.digest",
            "Digest of 1 event:\n- a.b: 1",
        )
        assert second["payload"]["members"] == members
        assert first["id"] != second["id"]

    run(test)


def test_an_outage_of_joelclaws_redis_is_waited_out_and_each_is_pushed_once() -> None:
    async def test(world: World) -> None:
        world.start("one", world.session())
        await world.emit("a")
        await world.until_delivered()
        await asyncio.to_thread(world.joelclaw.kill9)
        await world.emit("b", "c")
        await until(lambda: world.count("delivery_waits") >= 2)
        await asyncio.to_thread(world.joelclaw.restart)
        await world.until_delivered()
        assert await world.prompts() == ["a", "b", "c"]
        assert (world.count("joelclaw_away"), world.count("joelclaw_back")) == (1, 1)
        assert await world.quarantine.count() == 0

    run(test)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_two_workers_of_which_the_first_is_killed_or_stopped_push_each_once(
    how: signal.Signals,
) -> None:
    async def test(world: World) -> None:
        prompts = [f"p{n}" for n in range(60)]
        await world.emit(*prompts)
        processes = {}
        for worker in ("one", "two"):
            processes[worker] = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.joelclaw.outlet.outlet_process"),
                *(worker, world.own.url, world.joelclaw.url, "agent"),
                cwd=ROOT,
                stdout=PIPE,
            )
        try:

            async def some() -> bool:
                return len(await world.pushed()) >= 20

            await until(some, "a worker delivers")
            holder = (await world.deliveries.waiting(limit=0)).holder.removeprefix("session ")
            (other,) = set(processes) - {holder}
            processes[holder].send_signal(how)
            began = time.monotonic()

            async def handed_over() -> bool:
                return (await world.deliveries.waiting(limit=0)).holder == f"session {other}"

            await until(handed_over, "the other has the lease")
            assert time.monotonic() - began < 10
            await world.until_delivered()
            if how == signal.SIGSTOP:
                processes[holder].send_signal(signal.SIGCONT)
                await world.emit("last")
                await world.until_delivered()
                prompts.append("last")
            assert await world.prompts() == prompts
        finally:
            for process in processes.values():
                if process.returncode is None:
                    process.kill()
                await process.wait()

    run(test)


def test_a_reader_that_deletes_its_list_whole_loses_nothing_that_is_delivered_to_it() -> None:
    async def test(world: World) -> None:
        await world.theirs.sadd("joelclaw:gateway:sessions", "agent")
        prompts = [f"p{n}" for n in range(60)]
        await world.emit(*prompts)
        read: list[str] = []

        async def read_as_joelclaw_does() -> None:
            while len(read) < len(prompts):
                found = await world.prompts()
                await asyncio.sleep(0.005)  # what it does with them
                if found:
                    read.extend(found)
                    await world.theirs.delete("joelclaw:events:agent")

        reading = asyncio.create_task(read_as_joelclaw_does())
        world.start("one", world.session())
        await reading
        assert read == prompts

    run(test)


def test_what_still_lies_in_the_list_after_a_while_is_rung_for_once_more() -> None:
    async def test(world: World) -> None:
        rung: list[Any] = []
        async with world.theirs.pubsub(ignore_subscribe_messages=True) as pubsub:
            await pubsub.subscribe("joelclaw:notify:agent")
            (id,) = await world.emit("a")
            world.start("one", world.session())
            async for message in pubsub.listen():
                rung.append(json.loads(message["data"]))
                if len(rung) == 2:
                    break
        assert rung[0] == rung[1] == {"eventId": envelope_id(id), "type": "triage.prompt"}
        assert await world.prompts() == ["a"]

    run(test)


def test_a_reader_that_reads_nothing_holds_nobody_up_for_ever() -> None:
    async def test(world: World) -> None:
        await world.theirs.sadd("joelclaw:gateway:sessions", "agent")
        await world.emit("a", "b", "c")
        world.start("one", world.session(patience_s=0.05))
        await world.until_delivered()
        assert await world.prompts() == ["a", "b", "c"]

    run(test)
