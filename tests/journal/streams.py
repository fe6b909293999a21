"""Routes, the event stream and the journal stream."""

from __future__ import annotations

import asyncio

import pytest

from bridge.errors import BridgeError
from bridge.journal.positions import in_stream
from bridge.journal.values import Event
from bridge.message import context_for
from tests.deadline import DEADLINE_S
from tests.journal.case import ENTRY, SUBSYSTEM, JournalCase, emit, inngest


class StreamSuite(JournalCase):
    # -- routes ----------------------------------------------------------------------------
    async def test_a_route_is_written_once_and_then_only_by_set_route(self) -> None:
        first = await self.journal.ensure_route("other", "elixir", "python")
        assert (first.owner, first.fallback, first.epoch) == ("elixir", "python", 1)
        assert await self.journal.ensure_route("other", "typescript", None) == first

    async def test_every_change_of_a_route_raises_its_epoch(self) -> None:
        await self.journal.set_route(SUBSYSTEM, "elixir", "python")
        await self.journal.set_route(SUBSYSTEM, "elixir", "python")
        route = await self.journal.set_route(SUBSYSTEM, "typescript", None)
        assert (route.owner, route.fallback, route.epoch) == ("typescript", None, 4)
        assert (await self.journal.read(SUBSYSTEM, "k")).route == route

    async def test_recent_entries_are_told_by_their_times_the_newest_first(self) -> None:
        assert await self.journal.recent(SUBSYSTEM, 2) == []
        for n in range(3):
            await self.put(f"m{n}")
        positions = [position for position, _ in await self.journal.entries(SUBSYSTEM)]
        times = [int(position.partition("-")[0]) for position in positions]
        assert await self.journal.recent(SUBSYSTEM, 2) == [times[2], times[1]]

    async def test_the_route_log_has_every_route_oldest_first(self) -> None:
        await self.journal.set_route(SUBSYSTEM, "elixir", "python")
        await self.journal.set_route(SUBSYSTEM, "python", None)
        log = await self.journal.route_log(SUBSYSTEM)
        assert [(route.owner, route.fallback, route.epoch) for route in log] == [
            ("python", None, 1),
            ("elixir", "python", 2),
            ("python", None, 3),
        ]
        assert log[0].changed_ms <= log[1].changed_ms <= log[2].changed_ms
        assert await self.journal.route_log("unknown") == []

    async def test_routes_lists_each_subsystem_by_name(self) -> None:
        await self.journal.set_route("zulu", "elixir", None)
        await self.journal.ensure_route("alpha", "typescript", None)
        names = [(route.subsystem, route.owner) for route in await self.journal.routes()]
        assert names == [("alpha", "typescript"), (SUBSYSTEM, "python"), ("zulu", "elixir")]

    # -- events ----------------------------------------------------------------------------
    async def test_an_event_tells_where_it_comes_from(self) -> None:
        await self.put("m1", inngest(), emit("counter.added", n=1, empty=[]))
        (event,) = await self.journal.events_after(SUBSYSTEM, "0-0")
        assert event == Event(
            position=await self.journal.last_position(SUBSYSTEM),
            subsystem=SUBSYSTEM,
            key="k",
            seq=1,
            n=1,
            id="m1/1",
            type="counter.added",
            payload={"n": 1, "empty": []},
            at_ms=1_800_000_000_123,
        )

    async def test_events_come_in_commit_order_and_go_on_after_a_position(self) -> None:
        assert in_stream(await self.journal.last_position(SUBSYSTEM))[1] == "0-0"
        for n in range(4):
            await self.put(f"m{n}", emit(), emit(), key=f"k{n % 2}")
        events = await self.journal.events_after(SUBSYSTEM, "0-0")
        assert [event.id for event in events] == [f"m{n}/{i}" for n in range(4) for i in (0, 1)]
        rest = await self.journal.events_after(SUBSYSTEM, events[4].position, count=2)
        assert rest == events[5:7]
        assert await self.journal.events_after(SUBSYSTEM, events[-1].position) == []

    async def test_a_waiting_reader_is_woken_by_the_next_event(self) -> None:
        position = await self.journal.last_position(SUBSYSTEM)
        waiting = asyncio.create_task(
            self.journal.events_after(SUBSYSTEM, position, wait_ms=int(DEADLINE_S * 1000))
        )
        await self.put("m0")
        await self.put("m1", emit())
        async with asyncio.timeout(DEADLINE_S / 2):
            assert [event.id for event in await waiting] == ["m1/0"]

    async def test_a_waiting_reader_gives_up_after_its_time(self) -> None:
        assert await self.journal.events_after(SUBSYSTEM, "0-0", wait_ms=20) == []

    async def test_events_that_are_there_are_not_waited_for(self) -> None:
        await self.put("m1", emit())
        async with asyncio.timeout(DEADLINE_S):
            events = await self.journal.events_after(SUBSYSTEM, "0-0", wait_ms=3_600_000)
        assert [event.id for event in events] == ["m1/0"]

    async def test_many_cancelled_readers_leave_the_journal_as_it_was(self) -> None:
        for _ in range(30):
            waiting = [
                asyncio.create_task(
                    self.journal.events_after(SUBSYSTEM, "0-0", wait_ms=3_600_000)
                )
                for _ in range(5)
            ]
            await self.journal.last_position(SUBSYSTEM)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        await self.put("m1", emit())
        events = await self.journal.events_after(SUBSYSTEM, "0-0", wait_ms=1000)
        assert [event.id for event in events] == ["m1/0"]

    async def test_a_position_that_is_in_the_stream_has_no_gap(self) -> None:
        await self.put("m1", emit(), emit())
        assert not await self.journal.has_gap(SUBSYSTEM, "0-0")
        for event in await self.journal.events_after(SUBSYSTEM, "0-0"):
            assert not await self.journal.has_gap(SUBSYSTEM, event.position)

    async def test_a_trimmed_position_has_a_gap_and_so_has_the_start(self) -> None:
        self.journal = await self.open_journal(events_keep=100)
        await self.put("m0", emit())
        first = await self.journal.last_position(SUBSYSTEM)
        for n in range(1, 11):
            await self.put(f"m{n}", *(emit() for _ in range(50)))
        assert await self.journal.has_gap(SUBSYSTEM, first)
        assert await self.journal.has_gap(SUBSYSTEM, "0-0")
        kept = await self.journal.events_after(SUBSYSTEM, "0-0", count=1000)
        assert 100 <= len(kept) < 300
        assert not await self.journal.has_gap(SUBSYSTEM, kept[0].position)

    async def test_a_position_of_no_stream_has_a_gap(self) -> None:
        await self.put("m1", emit())
        for position in ("5-5", "9999999999999-0", "yesterday", "", "1", "１-１"):
            assert await self.journal.has_gap(SUBSYSTEM, position), position

    async def test_a_position_that_is_none_is_refused(self) -> None:
        for position in ("", "yesterday", "1-", "-1", "$"):
            with pytest.raises(BridgeError) as caught:
                await self.journal.events_after(SUBSYSTEM, position)
            assert caught.value.code == "invalid_request"

    # -- journal ---------------------------------------------------------------------------
    async def test_an_entry_has_what_was_recorded_and_where_the_key_stands(self) -> None:
        await self.put("m1", entry={**ENTRY, "build": "b"})
        ((_, entry),) = await self.journal.entries(SUBSYSTEM)
        context = context_for("m1", entry["at_ms"], ENTRY["deadline_ms"], "UTC", "k")
        assert entry == {
            "operation": "add",
            "request": {"n": 1},
            "build": "b",
            "context": context.as_json(),
            "at_ms": 1_800_000_000_123,
            "effects": [],
            "epoch": 1,
            "version": 1,
            "id": "m1",
            "key": "k",
            "reason": "owner",
            "reply": {"answer": "m1"},
            "runtime": "python",
            "seq": 1,
            "before": "",
            "state": {"last": "m1"},
        }

    async def test_entries_come_in_commit_order_and_go_on_after_a_position(self) -> None:
        for n in range(6):
            await self.put(f"m{n}", key=f"k{n % 2}")
        entries = await self.journal.entries(SUBSYSTEM)
        assert [entry["id"] for _, entry in entries] == [f"m{n}" for n in range(6)]
        assert await self.journal.entries(SUBSYSTEM, entries[1][0], count=2) == entries[2:4]
        assert await self.journal.entries(SUBSYSTEM, entries[-1][0]) == []

    async def test_entries_of_one_key_are_found_among_many(self) -> None:
        for n in range(9):
            await self.put(f"m{n}", key=f"k{n % 3}")
        entries = await self.journal.entries(SUBSYSTEM, key="k1")
        assert [entry["id"] for _, entry in entries] == ["m1", "m4", "m7"]
        assert await self.journal.entries(SUBSYSTEM, key="k1", count=2) == entries[:2]
        assert await self.journal.entries(SUBSYSTEM, entries[0][0], key="k1") == entries[1:]

    async def test_nothing_is_trimmed_that_was_not_exported(self) -> None:
        for n in range(6):
            await self.put(f"m{n}")
        positions = [position for position, _ in await self.journal.entries(SUBSYSTEM)]
        with pytest.raises(BridgeError, match="journal export` first") as caught:
            await self.journal.trim(SUBSYSTEM, positions[1])
        assert caught.value.code == "invalid_request"
        await self.journal.mark_exported(SUBSYSTEM, positions[3])
        with pytest.raises(BridgeError):
            await self.journal.trim(SUBSYSTEM, positions[4])
        assert len(await self.journal.entries(SUBSYSTEM)) == 6
        assert await self.journal.trim(SUBSYSTEM, positions[3]) == 3
        assert [at for at, _ in await self.journal.entries(SUBSYSTEM)] == positions[3:]
        assert await self.journal.trim(SUBSYSTEM, positions[3]) == 0

    async def test_the_exported_position_never_moves_back(self) -> None:
        for n in range(4):
            await self.put(f"m{n}")
        positions = [position for position, _ in await self.journal.entries(SUBSYSTEM)]
        await self.journal.mark_exported(SUBSYSTEM, positions[3])
        await self.journal.mark_exported(SUBSYSTEM, positions[0])
        assert await self.journal.trim(SUBSYSTEM, positions[3]) == 3

    async def test_keys_lists_each_key_once(self) -> None:
        for n in range(30):
            await self.put(f"m{n}", key=f"k{n % 10}")
        assert await self.journal.keys(SUBSYSTEM) == [f"k{n}" for n in range(10)]
        assert await self.journal.keys("unknown") == []
