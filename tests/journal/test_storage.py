"""The storage has an identity: flushed, gone back or another one, it is noticed."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from bridge.errors import BridgeError
from bridge.journal.positions import in_stream
from bridge.journal.redis import RedisJournal
from bridge.journal.values import PositionGone, Storage
from bridge.message import Version
from tests.deadline import DEADLINE_S
from tests.journal.case import SUBSYSTEM, emit, prepare
from tests.redis_server import RedisServer

EVENTS = f"joelclaw:bridge:{{{SUBSYSTEM}}}:events"


class Worker:
    """A journal as a worker has it, and what it was told of its storage."""

    def __init__(self, url: str) -> None:
        self.replaced: list[Storage] = []
        self.journal = RedisJournal(url, replaced=self.replaced.append)

    async def put(self, id: str, key: str = "k") -> Version:
        commit = await prepare(self.journal, id, emit(), key=key)
        committed = await self.journal.commit(commit, 5000)
        assert committed.status == "committed"
        return committed.version

    async def noticed(self) -> Storage:
        """Look as the worker does each second, until it knows."""
        async with asyncio.timeout(DEADLINE_S):
            while not self.replaced:
                try:
                    await self.journal.storage.look()
                except BridgeError:
                    await asyncio.sleep(0.02)
        return self.replaced[0]


def run(test: Callable[[RedisServer, redis.Redis, Worker, Worker], Awaitable[None]]) -> None:
    """Run a test with two workers, the first of which has committed."""

    async def main(server: RedisServer, control: redis.Redis) -> None:
        workers = Worker(server.url), Worker(server.url)
        try:
            for worker in workers:
                await worker.journal.ensure_route(SUBSYSTEM, "python", None)
            await workers[0].put("m1")
            await test(server, control, *workers)
        finally:
            for worker in workers:
                await worker.journal.close()

    with RedisServer() as server, redis.Redis.from_url(server.url) as control:
        asyncio.run(main(server, control))


async def positions(journal: RedisJournal) -> list[str]:
    return [event.position for event in await journal.events_after(SUBSYSTEM, "0-0")]


def test_a_storage_gets_an_id_with_the_first_write_that_everybody_sees() -> None:
    async def test(_: RedisServer, control: redis.Redis, one: Worker, other: Worker) -> None:
        storage = await one.journal.storage.read()
        assert storage is not None
        assert storage.id == other.journal.storage.id
        assert (storage.before, storage.why, storage.changed_ms) == ("", "", 0)
        assert control.hget("joelclaw:bridge:storage", "id") == storage.id.encode()
        [position] = await positions(one.journal)
        assert in_stream(position)[0] == storage.id
        plain = in_stream(position)[1]
        assert not await one.journal.has_gap(SUBSYSTEM, position)
        assert not await one.journal.has_gap(SUBSYSTEM, plain)  # as they were given before

    run(test)


def test_a_flushed_storage_is_another_one_and_nobody_goes_on_without_knowing() -> None:
    async def test(_: RedisServer, control: redis.Redis, one: Worker, other: Worker) -> None:
        [position] = await positions(one.journal)
        before = one.journal.storage.id
        control.flushall()
        with pytest.raises(BridgeError, match="the storage is another one") as caught:
            await one.journal.read(SUBSYSTEM, "k")
        assert caught.value.code == "storage_unavailable"
        storage = await one.noticed()
        assert storage.before == before
        assert storage.id != before
        assert storage.why == "it was flushed, or is another server"
        assert (await other.noticed()).id == storage.id
        assert await other.journal.storage.read() == storage
        await one.journal.ensure_route(SUBSYSTEM, "python", None)
        assert await one.journal.has_gap(SUBSYSTEM, position)
        with pytest.raises(PositionGone):
            await one.journal.events_after(SUBSYSTEM, position)
        assert await one.put("m2") == Version(1, "m2")
        [fresh] = await positions(one.journal)
        assert not await other.journal.has_gap(SUBSYSTEM, fresh)
        assert len(one.replaced) == len(other.replaced) == 1

    run(test)


def test_one_who_waits_for_events_of_a_flushed_storage_is_told_with_the_first_of_the_new() -> (
    None
):
    async def test(_: RedisServer, control: redis.Redis, one: Worker, other: Worker) -> None:
        [position] = await positions(other.journal)
        waiting = asyncio.create_task(
            other.journal.events_after(SUBSYSTEM, position, wait_ms=3_600_000)
        )
        control.flushall()
        await one.noticed()
        await one.journal.ensure_route(SUBSYSTEM, "python", None)
        await one.put("m2")
        with pytest.raises(PositionGone):
            await waiting

    run(test)


def test_an_older_copy_is_noticed_by_what_it_lacks(tmp_path: Path) -> None:
    async def test(server: RedisServer, _: Any, one: Worker, other: Worker) -> None:
        await other.put("m2", key="another")
        before = one.journal.storage.id
        server.kill9()
        folder = Path(server.folder)
        shutil.copytree(folder, tmp_path / "copy")
        await asyncio.to_thread(server.restart)
        [*_, position] = await positions_again(one)
        await put_again(one, "m3")
        server.kill9()
        shutil.rmtree(folder / "appendonlydir")
        shutil.copytree(tmp_path / "copy" / "appendonlydir", folder / "appendonlydir")
        await asyncio.to_thread(server.restart)
        storage = await one.noticed()
        assert storage.before == before
        assert storage.why.startswith("counter lacks the entry ")
        assert (await other.noticed()).id == storage.id
        assert await one.journal.has_gap(SUBSYSTEM, position)

    run(test)


async def positions_again(worker: Worker) -> list[str]:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                return await positions(worker.journal)
            except BridgeError:
                await asyncio.sleep(0.02)


async def put_again(worker: Worker, id: str) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                await worker.put(id)
                return
            except BridgeError:
                await asyncio.sleep(0.02)


def test_a_restart_that_keeps_everything_and_a_trim_behind_an_export_change_nothing() -> None:
    async def test(server: RedisServer, _: Any, one: Worker, other: Worker) -> None:
        await asyncio.to_thread(server.restart)
        await put_again(one, "m2")
        last = await one.journal.storage.last_entry(SUBSYSTEM)
        await one.journal.mark_exported(SUBSYSTEM, last)
        await one.journal._call(
            SUBSYSTEM, "XTRIM", f"joelclaw:bridge:{{{SUBSYSTEM}}}:journal", "MAXLEN", 0
        )
        await one.journal.storage.look()
        await asyncio.to_thread(server.restart)
        for worker in (one, other):
            await positions_again(worker)
            await worker.journal.storage.look()
            assert worker.replaced == []

    run(test)


def test_a_stream_whose_ids_went_back_is_noticed_though_the_storage_is_the_same() -> None:
    async def test(_: RedisServer, control: redis.Redis, one: Worker, other: Worker) -> None:
        [position] = await positions(one.journal)
        found: Any = control.xrange(EVENTS)
        control.delete(EVENTS)
        control.xadd(EVENTS, found[0][1], id="1-1")
        assert await other.journal.has_gap(SUBSYSTEM, position)
        with pytest.raises(PositionGone):
            await other.journal.events_after(SUBSYSTEM, position, wait_ms=1)
        assert one.replaced == []

    run(test)


def test_a_commit_that_was_read_from_another_storage_is_stale() -> None:
    async def test(_: RedisServer, control: redis.Redis, one: Worker, other: Worker) -> None:
        commit = await prepare(one.journal, "m2", key="new")
        control.flushall()
        await other.noticed()
        await other.journal.ensure_route(SUBSYSTEM, "python", None)
        assert (await one.journal.commit(commit, 5000)).status == "stale"

    run(test)


def test_why_a_storage_is_another_one_is_kept_until_somebody_accepted_it() -> None:
    async def test(_: RedisServer, control: redis.Redis, one: Worker, other: Worker) -> None:
        control.flushall()
        storage = await one.noticed()
        fresh = Worker(_.url)
        assert await fresh.journal.storage.read() == storage
        accepted = await fresh.journal.storage.accept()
        assert accepted is not None
        assert (accepted.id, accepted.before, accepted.why) == (storage.id, storage.before, "")
        await other.noticed()
        after = await one.journal.storage.read()
        assert after is not None
        assert after.why == ""
        await fresh.journal.close()

    run(test)
