"""The executors over the in-memory journal and a small HTTP server in Inngest's place."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.contracts.registry import Registry
from bridge.dispatch import Dispatcher
from bridge.effects import Effects, Executor, backoff_ms
from bridge.joelclaw.inngest.api import EventApi, Inngest
from bridge.journal.memory import MemoryJournal
from bridge.journal.store import OutboxEntry
from bridge.message import Message, RuntimeName, derived_id
from bridge.runtimes.python import PythonRuntime
from bridge.runtimes.runtime import Runtime
from bridge.telemetry import Telemetry
from tests.deadline import until
from tests.subsystems.counter.counter import handle as counter

SUBSYSTEMS = Path(__file__).parent / "subsystems"
ATTEMPTS = 3
LEASE_MS = 10_000


class Inbox:
    """Takes events over HTTP; `status` says what an event is answered with, default 200."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.taken: list[dict[str, Any]] = []
        self.paths: set[str] = set()
        self.status: Callable[[dict[str, Any]], int] = lambda event: 200

    @property
    def ids(self) -> list[str]:
        return [event["id"] for event in self.taken]

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
                event = json.loads(await reader.readexactly(length))
                self.paths.add(head.split(" ")[1])
                self.asked.append(event["id"])
                status = self.status(event)
                if status == 200:
                    self.taken.append(event)
                body = f'{{"ids":["01"],"status":{status}}}'
                head = f"HTTP/1.1 {status} -\r\ncontent-length: {len(body)}\r\n\r\n"
                writer.write((head + body).encode())
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            writer.close()


class Bench:
    """Dispatcher, journal and effects; `now_ms` is the journal's and the dispatcher's clock."""

    def __init__(self, url: str, inbox: Inbox) -> None:
        self.now_ms = 1_000_000
        self.inbox = inbox
        self.journal = MemoryJournal(clock=lambda: self.now_ms)
        self.telemetry = Telemetry()
        self.api = EventApi(url, "local")
        self.inngest = Inngest(self.api)
        self.runtimes: dict[RuntimeName, Runtime] = {
            "python": PythonRuntime({"counter": counter}, budget_ms=100)
        }
        self.dispatcher = Dispatcher(
            Registry.load(SUBSYSTEMS),
            self.journal,
            self.runtimes,
            self.telemetry,
            clock_ms=lambda: self.now_ms,
            committed=lambda name: self.effects.kick(name),
        )
        self.executors: dict[str, Executor] = {"inngest": self.inngest}
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
        inbox = Inbox()
        bench = Bench(await inbox.start(), inbox)
        await bench.journal.set_route("counter", "python", None)
        work = asyncio.create_task(bench.effects.run())
        try:
            await test(bench)
            assert not work.done()
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            await bench.api.close()
            inbox.stop()

    asyncio.run(main())


def test_an_effect_arrives_with_its_id_and_the_time_of_its_commit() -> None:
    async def test(bench: Bench) -> None:
        await bench.send("m", "notify", {"count": 1})
        assert await bench.taken(1) == ["m/0"]
        assert bench.inbox.taken == [
            {"name": "counter/notified", "data": {"i": 0}, "id": "m/0", "ts": 1_000_000}
        ]
        assert bench.inbox.paths == {"/e/local"}
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
        bench.inbox.status = lambda event: 500 if event["id"] == "a/0" else 200
        await bench.send("a", "notify", {"count": 2}, key="k")
        await bench.send("b", "notify", {"count": 2}, key="other")
        assert await bench.taken(2) == ["b/0", "b/1"]
        await bench.done(2)
        assert [entry.id for entry in await bench.waiting()] == ["a/0", "a/1"]

    run(test)


def test_an_unordered_effect_waits_for_none() -> None:
    async def test(bench: Bench) -> None:
        bench.inbox.status = lambda event: 500 if event["id"] == "a/0" else 200
        await bench.send("a", "notify", {"count": 1})
        await bench.failed(1)
        await bench.send("b", "notify", {"count": 2, "unordered": True})
        assert sorted(await bench.taken(2)) == ["b/0", "b/1"]
        await bench.done(2)
        assert [entry.id for entry in await bench.waiting()] == ["a/0"]

    run(test)


def test_a_failed_effect_is_tried_again_after_a_pause_and_not_before() -> None:
    async def test(bench: Bench) -> None:
        bench.inbox.status = lambda event: 503 if bench.inbox.asked == ["a/0"] else 200
        await bench.send("a", "notify", {"count": 1})
        await bench.failed(1)
        [entry] = await bench.waiting()
        assert entry.attempts == 1
        assert 125 <= entry.due_ms - bench.now_ms <= 250
        assert entry.error.endswith(
            ': expected 200 {"ids": [1 of them], "status": 200}, '
            'got 503 {"ids":["01"],"status":503}'
        )
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
        bench.inbox.status = lambda event: 500 if event["id"] == "a/0" else 200
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
        assert letter.error.endswith('got 500 {"ids":["01"],"status":500}')

    run(test)


@pytest.mark.parametrize("status", [400, 401, 403, 413, 422])
def test_what_can_never_succeed_is_dead_at_once_and_releases_the_next(status: int) -> None:
    async def test(bench: Bench) -> None:
        bench.inbox.status = lambda event: status if event["id"] == "a/0" else 200
        await bench.send("a", "notify", {"count": 2})
        assert await bench.taken(1) == ["a/1"]
        assert bench.inbox.asked == ["a/0", "a/1"]
        [letter] = await bench.journal.dead("counter")
        assert (letter.id, letter.attempts) == ("a/0", 1)
        assert f"got {status} " in letter.error

    run(test)


@pytest.mark.parametrize("status", [301, 404, 408, 425, 429, 500, 502, 503])
def test_what_may_pass_is_tried_again(status: int) -> None:
    async def test(bench: Bench) -> None:
        bench.inbox.status = lambda event: status if len(bench.inbox.asked) == 1 else 200
        await bench.send("a", "notify", {"count": 1})
        await bench.failed(1)
        await bench.later(60_000)
        assert await bench.taken(1) == ["a/0"]
        assert await bench.journal.dead("counter") == []

    run(test)


def test_a_redriven_effect_is_done() -> None:
    async def test(bench: Bench) -> None:
        bench.inbox.status = lambda event: 500
        await bench.send("a", "notify", {"count": 1})
        for attempt in range(1, ATTEMPTS + 1):
            await bench.failed(attempt)
            await bench.later(60_000)
        bench.inbox.status = lambda event: 200
        assert await bench.journal.redrive("counter", "a/0")
        await bench.later(0)
        assert await bench.taken(1) == ["a/0"]

    run(test)


def test_what_nothing_executes_is_held_until_something_does() -> None:
    async def test(bench: Bench) -> None:
        del bench.executors["inngest"]
        await bench.send("a", "notify", {"count": 1})
        held: list[bool] = []
        while held != [True]:
            held = [entry.held for entry in await bench.waiting()]
            await asyncio.sleep(0)
        bench.executors["inngest"] = bench.inngest
        await bench.later(0)
        assert await bench.taken(1) == ["a/0"]

    run(test)


def test_an_executor_with_a_defect_is_counted_and_ends_nothing() -> None:
    async def test(bench: Bench) -> None:
        async def broken(entry: OutboxEntry) -> None:
            if entry.key == "k":
                raise KeyError("unforeseen")
            await bench.inngest(entry)

        bench.executors["inngest"] = broken
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
