"""The journal in Redis while Redis is killed, stopped, cut off, full or a replica."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis

from bridge.errors import BridgeError
from bridge.journal.redis import RedisJournal
from bridge.journal.values import Commit, OutboxEntry, Timer
from bridge.message import Version
from tests.deadline import DEADLINE_S, until
from tests.journal.case import SHORT_MS, SUBSYSTEM, JournalCase, emit, inngest
from tests.proxy import DroppyProxy
from tests.redis_server import RedisServer


class TestRedisFailures(JournalCase):
    server: RedisServer

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = RedisServer()
        cls.addClassCleanup(cls.server.close)

    async def asyncSetUp(self) -> None:
        self.control = redis.Redis.from_url(self.server.url)
        self.addCleanup(self.control.close)
        self.control.flushall()
        self.proxy = DroppyProxy(self.server.port)
        await self.proxy.start()
        self.addAsyncCleanup(self.proxy.stop)
        await super().asyncSetUp()

    async def open_journal(self, **options: Any) -> RedisJournal:
        journal = RedisJournal(self.proxy.url, **options)
        self.addAsyncCleanup(journal.close)
        return journal

    async def until_it_answers(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Repeat a call as clients do, while its errors are retryable."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                try:
                    return await call()
                except BridgeError as error:
                    if not error.retryable:
                        raise
                    await asyncio.sleep(0.01)

    # -- scripts ---------------------------------------------------------------------------
    async def test_a_script_flush_hurts_nothing(self) -> None:
        await self.put("m1")
        self.control.script_flush()
        assert await self.put("m2", emit(), inngest()) == Version(2, "m2")
        assert len(await self.claim()) == 1

    async def test_concurrent_reads_are_one_call(self) -> None:
        await self.put("m1")
        self.control.config_resetstat()
        await asyncio.gather(
            *(self.journal.read(SUBSYSTEM, f"k{n}", f"m{n}") for n in range(256))
        )
        assert self.control.info("commandstats")["cmdstat_evalsha"]["calls"] == 1

    async def test_a_key_of_another_type_fails_its_own_reads_alone_and_is_named(self) -> None:
        await self.put("m1")
        (state,) = self.control.keys("*state:k")
        assert isinstance(state, bytes)
        self.control.set(state + b"7", "no hash")
        found = await asyncio.gather(
            *(self.journal.read(SUBSYSTEM, f"k{n}") for n in range(20)), return_exceptions=True
        )
        (failed,) = (each for each in found if isinstance(each, BaseException))
        assert found[7] is failed
        assert isinstance(failed, BridgeError)
        assert failed.code == "storage_unavailable"
        assert failed.message.startswith(
            "Redis key joelclaw:bridge:{counter}:state:k7 is a string"
        )

    async def test_a_read_sees_every_commit_acknowledged_before_it_was_asked_for(self) -> None:
        stop = asyncio.Event()

        async def read_on() -> None:
            while not stop.is_set():
                await self.journal.read(SUBSYSTEM, "k")

        readers = [asyncio.create_task(read_on()) for _ in range(8)]
        version = Version()
        for n in range(100):
            commit = await self.prepare(f"m{n}", expected=version)
            version = (await self.journal.commit(commit, 5000)).version
            assert (await self.journal.read(SUBSYSTEM, "k")).version == version
        stop.set()
        await asyncio.gather(*readers)

    # -- answers that get lost -------------------------------------------------------------
    async def test_a_commit_whose_answer_is_lost_is_repeated_and_counts_once(self) -> None:
        commit = await self.prepare("m1", emit(), inngest())
        self.proxy.drop_next()
        committed = await self.journal.commit(commit, 10_000)
        assert committed.status == "duplicate"
        assert committed.done is not None
        assert committed.done.reply == commit.reply
        assert committed.version == Version(1, "m1")
        assert len(await self.journal.entries(SUBSYSTEM)) == 1
        assert len(await self.journal.events_after(SUBSYSTEM, "0-0")) == 1

    async def test_a_commit_without_any_answer_is_an_unknown_outcome_in_time(self) -> None:
        commit = await self.prepare("m1")
        self.proxy.replies = "swallow"
        with pytest.raises(BridgeError) as caught:
            async with asyncio.timeout(DEADLINE_S):
                await self.journal.commit(commit, 700)
        assert caught.value.code == "outcome_unknown"
        assert caught.value.detail == {"message_id": "m1"}
        self.proxy.replies = "pass"
        settled = await self.until_it_answers(lambda: self.journal.commit(commit, 5000))
        assert settled.status == "duplicate"

    async def test_a_commit_that_cannot_be_sent_says_that_nothing_was_written(self) -> None:
        commit = await self.prepare("m1")
        self.proxy.refuse = True
        self.proxy.cut()
        await self.everything_fails_with("storage_unavailable")
        with pytest.raises(BridgeError) as caught:
            await self.journal.commit(commit, 5000)
        assert caught.value.code == "storage_unavailable"
        self.proxy.refuse = False
        settled = await self.until_it_answers(lambda: self.journal.commit(commit, 5000))
        assert settled.status == "committed"

    async def test_a_commit_that_was_cancelled_leaves_the_connection_in_step(self) -> None:
        commits = [await self.prepare("m1"), await self.prepare("m2", key="other")]
        first, second = (asyncio.create_task(self.journal.commit(c, 5000)) for c in commits)
        await asyncio.sleep(0)  # both are sent
        first.cancel()
        assert (await second).version == Version(1, "m2")
        assert first.cancelled()
        again = await self.journal.commit(commits[0], 5000)
        assert again.status in ("duplicate", "committed")  # where it was not sent yet
        assert (await self.journal.read(SUBSYSTEM, "other")).version == Version(1, "m2")
        assert self.proxy.accepted == 1

    async def test_an_answer_that_vanished_is_not_replaced_by_the_next_one(self) -> None:
        first = await self.prepare("m1", key="a")
        second = await self.prepare("m2", key="b", expected=Version(9, "never"))
        self.proxy.drop_next(how="swallow")
        lost = asyncio.create_task(self.journal.commit(first, 10_000))
        await until(lambda: self.proxy.dropped == 1)
        stale = asyncio.create_task(self.journal.commit(second, 10_000))
        assert (await lost).status == "duplicate"
        assert (await stale).status == "stale"

    # -- a Redis that hangs or is gone -----------------------------------------------------
    async def everything_fails_with(self, code: str) -> None:
        entry = OutboxEntry("m/0", "k", SUBSYSTEM, "k", "inngest", {}, 0, token="t")
        timer = Timer(SUBSYSTEM, "k", "later", 0, "add", {}, "m/0")
        journal = self.journal
        deliveries = journal.deliveries(SUBSYSTEM)
        calls: list[Awaitable[Any]] = [
            journal.read(SUBSYSTEM, "k"),
            journal.ensure_route(SUBSYSTEM, "python", None),
            journal.set_route(SUBSYSTEM, "python", None),
            journal.routes(),
            journal.route_log(SUBSYSTEM),
            journal.last_position(SUBSYSTEM),
            journal.events_after(SUBSYSTEM, "0-0"),
            journal.events_after(SUBSYSTEM, "0-0", wait_ms=50),
            journal.has_gap(SUBSYSTEM, "0-0"),
            journal.claim(SUBSYSTEM, ["inngest"], 1, 1000),
            journal.complete(entry),
            journal.fail(entry, "", 0, 1),
            journal.outbox(SUBSYSTEM),
            journal.due_timers(SUBSYSTEM, 1, 1000),
            journal.fail_timer(timer, "", 0, 1),
            journal.timers(SUBSYSTEM),
            journal.dead(SUBSYSTEM),
            journal.redrive(SUBSYSTEM, "m/0"),
            journal.entries(SUBSYSTEM),
            journal.trim(SUBSYSTEM, "0-0"),
            journal.mark_exported(SUBSYSTEM, "0-0"),
            journal.keys(SUBSYSTEM),
            deliveries.hold("a", 1000),
            deliveries.release("a"),
            deliveries.begin("a", "1-1"),
            deliveries.done("a", "1-1"),
            deliveries.failed("a", "1-1", "", 0),
            deliveries.give_back("a", "1-1"),
            deliveries.arrived(50),
            deliveries.waiting(),
        ]
        async with asyncio.timeout(DEADLINE_S):
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
        for outcome in outcomes:
            assert isinstance(outcome, BridgeError), outcome
            assert outcome.code == code, outcome

    async def test_a_redis_that_hangs_makes_no_method_hang(self) -> None:
        commit = await self.prepare("m1")
        self.journal = await self.open_journal(timeout_ms=SHORT_MS)
        await self.until_it_answers(lambda: self.journal.read(SUBSYSTEM, "k"))
        waiting = asyncio.create_task(
            self.journal.events_after(SUBSYSTEM, "0-0", wait_ms=SHORT_MS)
        )
        self.server.stop()
        try:
            await self.everything_fails_with("storage_unavailable")
            with pytest.raises(BridgeError) as caught:
                await self.journal.commit(commit, 400)
            assert caught.value.code in ("storage_unavailable", "outcome_unknown")
            with pytest.raises(BridgeError):
                await waiting
        finally:
            self.server.cont()
        settled = await self.until_it_answers(lambda: self.journal.commit(commit, 5000))
        assert settled.version == Version(1, "m1")

    async def test_reconnecting_is_no_storm(self) -> None:
        self.proxy.refuse = True
        self.proxy.cut()
        before = self.proxy.accepted
        loop = asyncio.get_running_loop()
        end = loop.time() + 1
        while loop.time() < end:
            outcomes = await asyncio.gather(
                *(self.journal.read(SUBSYSTEM, f"k{n}") for n in range(50)),
                *(self.journal.timers(SUBSYSTEM) for _ in range(50)),
                return_exceptions=True,
            )
            assert all(isinstance(outcome, BridgeError) for outcome in outcomes)
        assert self.proxy.accepted - before <= 8  # 20 ms, doubled up to 1 s
        self.proxy.refuse = False
        await self.until_it_answers(lambda: self.journal.read(SUBSYSTEM, "k"))
        await asyncio.gather(*(self.journal.read(SUBSYSTEM, f"k{n}") for n in range(50)))
        assert self.proxy.open_connections == 1

    async def test_what_was_acknowledged_is_there_after_a_kill(self) -> None:
        acknowledged: dict[str, Version] = {}
        stop = asyncio.Event()

        async def client(name: str) -> None:
            n = 0
            while not stop.is_set() or n < 5:
                message_id = f"{name}-{n}"
                version = await self.settle(message_id, f"k-{name}")
                acknowledged[message_id] = version
                n += 1

        clients = [asyncio.create_task(client(f"c{n}")) for n in range(8)]
        for _ in range(4):
            goal = len(acknowledged) + 40
            await self.until_there_are(goal, acknowledged)
            self.server.kill9()
            await asyncio.to_thread(self.server.restart)
        stop.set()
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*clients)

        found = await self.journal.entries(SUBSYSTEM, count=100_000)
        entries = [(entry["id"], entry["seq"]) for _, entry in found]
        assert len(entries) == len(set(entries)) == len(acknowledged)
        assert {id_: Version(seq, id_) for id_, seq in entries} == acknowledged

    async def until_there_are(self, count: int, acknowledged: dict[str, Version]) -> None:
        await until(lambda: len(acknowledged) >= count)

    async def settle(self, message_id: str, key: str) -> Version:
        """Commit a message, as often as it takes; return the version it made."""

        async def once() -> Version | None:
            commit = await self.prepare(message_id, emit(), inngest(), key=key)
            committed = await self.journal.commit(commit, 1000)
            return None if committed.status == "stale" else committed.version

        while (version := await self.until_it_answers(once)) is None:
            pass
        assert isinstance(version, Version)
        return version

    # -- a Redis that says no --------------------------------------------------------------
    async def test_a_full_redis_refuses_a_commit_as_a_whole(self) -> None:
        commit = await self.prepare("m1", emit(), inngest())
        self.control.config_set("maxmemory", "1")
        try:
            with pytest.raises(BridgeError, match="OOM") as caught:
                await self.journal.commit(commit, 5000)
        finally:
            self.control.config_set("maxmemory", "0")
        assert caught.value.code == "storage_unavailable"
        assert await self.journal.entries(SUBSYSTEM) == []
        settled = await self.until_it_answers(lambda: self.journal.commit(commit, 5000))
        assert settled.status == "committed"

    async def test_a_primary_that_became_a_replica_is_left_for_the_new_one(self) -> None:
        commit = await self.prepare("m1")
        self.control.replicaof("127.0.0.1", "1")
        try:
            with pytest.raises(BridgeError, match="READONLY") as caught:
                await self.journal.commit(commit, 5000)
        finally:
            self.control.replicaof("NO", "ONE")
        assert caught.value.code == "storage_unavailable"
        assert (await self.journal.commit(commit, 5000)).status == "committed"
        assert self.proxy.accepted == 2

    # -- blocking readers ------------------------------------------------------------------
    async def test_a_cancelled_reader_leaves_no_command_waiting_in_redis(self) -> None:
        waiting = [
            asyncio.create_task(self.journal.events_after(SUBSYSTEM, "0-0", wait_ms=3_600_000))
            for _ in range(10)
        ]
        await self.until_blocked(1)  # one for all
        for task in waiting:
            task.cancel()
        await self.until_blocked(0)

    async def until_blocked(self, count: int) -> None:
        await until(lambda: self.control.info("clients")["blocked_clients"] == count)

    async def test_a_reader_that_comes_again_uses_the_same_connection(self) -> None:
        for _ in range(5):
            await self.journal.events_after(SUBSYSTEM, "0-0", wait_ms=1)
        assert self.proxy.accepted == 2  # the shared one, and one that blocks

    async def test_closing_the_journal_wakes_who_waits(self) -> None:
        waiting = asyncio.create_task(
            self.journal.events_after(SUBSYSTEM, "0-0", wait_ms=3_600_000)
        )
        await self.until_blocked(1)
        await self.journal.close()
        with pytest.raises(BridgeError) as caught:
            await waiting
        assert caught.value.code == "storage_unavailable"
        with pytest.raises(BridgeError):
            await self.journal.read(SUBSYSTEM, "k")

    # -- two workers -----------------------------------------------------------------------
    async def test_two_workers_racing_on_one_key_commit_each_message_once(self) -> None:
        other = await self.open_journal()

        async def work(journal: RedisJournal, name: str) -> None:
            for n in range(50):
                while True:
                    snapshot = await journal.read(SUBSYSTEM, "k", f"shared-{n}")
                    commit = await self.racing(f"shared-{n}", name, snapshot.version)
                    if (await journal.commit(commit, 5000)).status != "stale":
                        break

        assert isinstance(self.journal, RedisJournal)
        await asyncio.gather(work(self.journal, "a"), work(other, "b"), work(other, "c"))
        found = await self.journal.entries(SUBSYSTEM)
        assert [entry["seq"] for _, entry in found] == list(range(1, 51))
        assert [entry["id"] for _, entry in found] == [f"shared-{n}" for n in range(50)]

    async def racing(self, message_id: str, worker: str, version: Version) -> Commit:
        return await self.prepare(message_id, expected=version, reply=worker, state=worker)

    async def test_two_workers_never_claim_the_same_effect(self) -> None:
        other = await self.open_journal()
        for n in range(40):
            await self.put(f"m{n}", inngest(), key=f"k{n}")
        claims = await asyncio.gather(
            *(
                journal.claim(SUBSYSTEM, ["inngest"], 3, 60_000)
                for journal in (self.journal, other)
                for _ in range(10)
            )
        )
        claimed = [entry.id for claim in claims for entry in claim]
        assert len(claimed) == len(set(claimed)) == 40
