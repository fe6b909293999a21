"""Activities in a real service in Node, over a real Redis; services and workers are killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
import unittest
from pathlib import Path
from typing import Any

import pytest
import redis

from bridge.activities.activity import Attempt
from bridge.activities.python import PythonActivities
from bridge.activities.typescript import TypeScriptActivities
from bridge.call_effects import Calls
from bridge.contracts.files import BUILT_IN
from bridge.dispatch import Dispatcher
from bridge.effects import Effects
from bridge.errors import BridgeError
from bridge.journal.redis import RedisJournal
from bridge.message import Message, RuntimeName
from bridge.runtimes.python import PythonRuntime
from bridge.runtimes.runtime import Runtime
from bridge.runtimes.typescript import TypeScriptRuntime
from bridge.telemetry import Telemetry
from tests.activities.bench import REGISTRY, SUBSYSTEMS
from tests.activities.subsystems.asker.activities import here
from tests.activities.subsystems.asker.asker import handle
from tests.deadline import until
from tests.redis_server import RedisServer

ROOT = Path(__file__).parents[2]
SERVICE = ROOT / "contracts" / "typescript" / "dist" / "main.js"
PREFIX = "joelclaw:bridge:{asker}:"


class Worker:
    """What of a gateway worker does calls; `end` leaves everything as a kill would."""

    def __init__(self, url: str, name: str) -> None:
        self.journal = RedisJournal(url)
        self.typescript = TypeScriptRuntime(url, name, REGISTRY.digests())
        self.telemetry = Telemetry()
        self.python = PythonActivities({"asker": {"here": here}}, self.telemetry)
        runtimes: dict[RuntimeName, Runtime] = {
            "python": PythonRuntime({"asker": handle}, budget_ms=1000)
        }
        self.dispatcher = Dispatcher(
            REGISTRY,
            self.journal,
            runtimes,
            self.telemetry,
            committed=lambda name: self.effects.kick(name),
        )
        calls = Calls(
            REGISTRY,
            self.journal,
            self.dispatcher,
            {
                "typescript": TypeScriptActivities(self.typescript, name),
                "python": self.python,
            },
            self.telemetry,
            timeout_ms=5000,
        )
        self.effects = Effects(
            self.journal,
            self.dispatcher,
            {},
            ["asker"],
            self.telemetry,
            calls,
            lease_ms=10_000,
            attempts=3,
            timeout_ms=5000,
        )

    async def start(self) -> None:
        await self.journal.storage.recognise()
        await self.journal.ensure_route("asker", "python", None)
        await self.typescript.start()
        self.work = asyncio.create_task(self.effects.run())

    async def end(self) -> None:
        self.work.cancel()
        await asyncio.gather(self.work, return_exceptions=True)
        self.python.close()
        await self.typescript.close()
        await self.journal.close()

    async def send(self, id: str, operation: str, request: Any) -> Any:
        message = Message(id, "asker", "k", operation, request)
        return await self.dispatcher.dispatch(message, timeout_ms=5000)


@unittest.skipUnless(shutil.which("node"), "needs Node")
@unittest.skipUnless(SERVICE.exists(), "needs `npm ci && npm run build` in contracts/typescript")
class TestServices(unittest.IsolatedAsyncioTestCase):
    server: RedisServer
    control: redis.Redis

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = RedisServer(appendfsync="everysec")
        cls.addClassCleanup(cls.server.close)
        cls.control = redis.Redis.from_url(cls.server.url)
        cls.addClassCleanup(cls.control.close)

    async def asyncSetUp(self) -> None:
        self.control.flushall()
        folder = tempfile.TemporaryDirectory(prefix="asked-")
        self.addCleanup(folder.cleanup)
        self.noted = Path(folder.name) / "asked"
        self.worker = await self.open_worker("one")

    async def open_worker(self, name: str) -> Worker:
        worker = Worker(self.server.url, name)
        await worker.start()
        self.addAsyncCleanup(worker.end)
        return worker

    async def open_service(self) -> asyncio.subprocess.Process:
        before = self.services()
        service = await asyncio.create_subprocess_exec(
            "node",
            str(SERVICE),
            stderr=asyncio.subprocess.DEVNULL,
            env={
                **os.environ,
                "ASKED": str(self.noted),
                "BRIDGE_REDIS_URL": self.server.url,
                "BRIDGE_CONTRACTS": f"{BUILT_IN}:{SUBSYSTEMS}",
                "BRIDGE_IMPLEMENTATIONS": str(SUBSYSTEMS / "implementations.json"),
            },
        )

        async def end() -> None:
            if service.returncode is None:
                service.kill()
            await service.wait()

        self.addAsyncCleanup(end)
        await until(lambda: self.services() > before, "the service has joined")
        return service

    def services(self) -> int:
        return self.control.zcard(f"{PREFIX}activity:there")

    def asked(self) -> list[str]:
        """Return what the functions noted: the call's id, the attempt, what of it."""
        return self.noted.read_text().splitlines() if self.noted.exists() else []

    async def ask(self, message: str, text: str, **more: Any) -> None:
        await self.worker.send(message, "ask", {"to": "there", "text": text} | more)

    async def told(self, count: int) -> list[Any]:
        async def all_told() -> list[Any]:
            found: list[Any] = (await self.worker.send("q", "all", {}))["told"]
            return found

        async def enough() -> bool:
            with contextlib.suppress(BridgeError):  # Redis is not there again yet
                return len(await all_told()) >= count
            return False

        await until(enough, f"{count} were told")
        return await all_told()

    async def nothing_left(self) -> None:
        journal = self.worker.journal

        async def nothing() -> bool:
            left = [*await journal.outbox("asker"), *await journal.timers("asker")]
            keys = list(self.control.scan_iter(f"{PREFIX}claim:*"))
            return not left and not keys and not self.control.zcard(f"{PREFIX}running:there")

        await until(nothing, "no call is left")
        assert self.control.xlen(f"{PREFIX}activities:there") == 0

    async def test_a_service_answers_and_nothing_of_the_call_is_left(self) -> None:
        await self.open_service()
        await self.ask("m", "hello")
        assert await self.told(1) == [{"id": "m/0", "reply": {"text": "hello", "attempt": 1}}]
        assert self.asked() == ["m/0 1 hello"]
        await self.nothing_left()

    async def test_a_call_waits_until_there_is_a_service(self) -> None:
        await self.ask("m", "hello")
        await until(lambda: "call_waits" in str(self.worker.telemetry.counts()))
        await self.open_service()
        assert (await self.told(1))[0]["reply"] == {"text": "hello", "attempt": 1}

    async def test_what_it_throws_is_retried_or_told(self) -> None:
        await self.open_service()
        await self.ask("a", "never")
        await self.ask("b", "fail")
        found = {told["id"]: told["error"] for told in await self.told(2)}
        assert (found["a/0"]["message"], found["a/0"]["retryable"]) == (
            "NotRetryable: no use",
            False,
        )
        assert found["a/0"]["detail"] == {"why": "never", "attempts": 1}
        assert found["b/0"]["message"] == "Error: failed at 3"
        assert [line for line in self.asked() if line.startswith("b/0")] == [
            "b/0 1 fail",
            "b/0 2 fail",
            "b/0 3 fail",
        ]

    async def test_a_service_killed_before_its_result_has_another_begin_again(self) -> None:
        first = await self.open_service()
        await self.ask("m", "first", to="quiet")
        await until(lambda: self.asked() == ["m/0 1 first"])
        first.kill()
        await first.wait()
        await self.open_service()
        assert (await self.told(1))[0]["reply"] == {"text": "first", "attempt": 2}
        await self.nothing_left()

    async def test_a_service_killed_after_its_result_ran_it_once(self) -> None:
        service = await self.open_service()
        await self.ask("m", "long")
        await until(lambda: self.asked() == ["m/0 1 long"])
        await self.worker.end()  # so that nobody takes the result
        await until(lambda: self.control.hget(f"{PREFIX}claim:m/0", "answer"))
        service.kill()
        await service.wait()
        self.worker = await self.open_worker("two")
        assert await self.told(1) == [{"id": "m/0", "reply": {"text": "long", "attempt": 1}}]
        assert self.asked() == ["m/0 1 long"]
        await self.nothing_left()

    @pytest.mark.slow
    async def test_a_worker_that_is_gone_is_followed_by_another_and_nothing_runs_twice(
        self,
    ) -> None:
        await self.open_service()
        await self.ask("m", "longest")
        await until(lambda: self.asked() == ["m/0 1 longest"])
        await self.worker.end()
        self.worker = await self.open_worker("two")
        assert await self.told(1) == [{"id": "m/0", "reply": {"text": "longest", "attempt": 1}}]
        assert self.asked() == ["m/0 1 longest"]
        await self.nothing_left()

    async def test_a_stopped_service_is_given_up_and_its_late_answer_is_not_taken(self) -> None:
        first = await self.open_service()
        await self.ask("m", "first")
        await until(lambda: self.asked() == ["m/0 1 first"])
        first.send_signal(signal.SIGSTOP)
        await self.open_service()
        assert (await self.told(1))[0]["reply"] == {"text": "first", "attempt": 2}
        first.send_signal(signal.SIGCONT)
        await until(lambda: "m/0 1 aborted" in self.asked())
        assert len(await self.told(1)) == 1
        await self.nothing_left()

    async def test_cancelled_and_out_of_time_it_is_told_by_the_signal(self) -> None:
        await self.open_service()
        await self.ask("a", "wait", id="mine")
        await until(lambda: self.asked() == ["a/0 1 wait"])
        await self.worker.send("s", "stop", {"id": "mine"})
        await until(lambda: "a/0 1 aborted" in self.asked())
        await self.ask("b", "wait", timeout_ms=1)
        [told] = await self.told(1)
        assert (told["id"], told["error"]["code"]) == ("b/0", "timeout")
        await self.nothing_left()

    async def test_without_a_heartbeat_it_is_begun_again(self) -> None:
        await self.open_service()
        await self.ask("m", "first")
        assert (await self.told(1))[0]["reply"] == {"text": "first", "attempt": 2}
        assert self.asked() == ["m/0 1 first", "m/0 1 aborted", "m/0 2 first"]

    async def test_two_workers_and_two_services_keep_to_the_limit(self) -> None:
        await self.open_worker("two")
        await self.open_service()
        await self.open_service()
        for n in range(6):
            await self.ask(f"m{n}", f"long {n}")
        most = 0

        async def all_told() -> bool:
            nonlocal most
            most = max(most, self.control.zcard(f"{PREFIX}running:there"))
            return len((await self.worker.send("q", "all", {}))["told"]) == 6

        await until(all_told, "all six were told")
        assert most == 2
        assert sorted(self.asked()) == [f"m{n}/0 1 long {n}" for n in range(6)]
        await self.nothing_left()

    async def logged(self, times: int) -> None:
        counts = self.worker.telemetry.counts
        await until(lambda: counts().get("activity_log{subsystem=asker}", 0) >= times)

    async def test_while_redis_is_away_a_function_runs_on_and_its_answer_waits(self) -> None:
        await self.worker.send("m", "ask", {"to": "here", "text": "beat"})
        await self.logged(1)
        self.server.kill9()
        await self.logged(10)  # its end
        self.server.restart()
        assert await self.told(1) == [{"id": "m/0", "reply": {"text": "beat", "attempt": 1}}]

    @pytest.mark.slow
    async def test_a_redis_that_was_away_for_long_says_nothing_about_a_service(self) -> None:
        service = await self.open_service()
        await self.ask("m", "longest", to="quiet")
        await until(lambda: self.asked() == ["m/0 1 longest"])
        self.server.kill9()
        service.send_signal(signal.SIGSTOP)  # it must not be the first to come back
        for _ in range(3):  # three seconds each
            beating = Attempt("b", "asker", "k", "here", 1, {"text": "beat"}, 9000, 0)
            await self.worker.python.perform(beating)
        self.server.restart()
        held_until = self.control.zscore(f"{PREFIX}running:quiet", "m/0")
        # The worker has looked, and given it no other attempt.
        await until(lambda: self.control.zscore(f"{PREFIX}running:quiet", "m/0") != held_until)
        service.send_signal(signal.SIGCONT)
        assert await self.told(1) == [{"id": "m/0", "reply": {"text": "longest", "attempt": 1}}]
        assert self.asked() == ["m/0 1 longest"]
