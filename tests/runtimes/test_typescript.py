"""The TypeScript runtime: a real service in Node, a real Redis between."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import tempfile
import unittest
from pathlib import Path
from typing import Any

import pytest
import redis

from bridge.contracts.files import BUILT_IN
from bridge.contracts.registry import Registry
from bridge.errors import BridgeError, Refusal, RuntimeFault, RuntimeUnavailable
from bridge.message import Invocation, Kind, Outcome, context_for
from bridge.runtimes.typescript import TypeScriptRuntime
from tests.deadline import DEADLINE_S, until
from tests.redis_server import RedisServer

ROOT = Path(__file__).parents[2]
SERVICE = ROOT / "contracts" / "typescript" / "dist" / "main.js"
SUBSYSTEMS = ROOT / "tests" / "subsystems"
REGISTRY = Registry.load(ROOT / "contracts" / "subsystems", SUBSYSTEMS)
DIGESTS, CONTRACT = REGISTRY.digests(), REGISTRY.get("counter")
EMPTY: dict[str, Any] = {"total": 0, "log": [], "pad": ""}
REQUESTS = "joelclaw:bridge:{counter}:requests:typescript"
CONTRACT_KEY = "joelclaw:bridge:{counter}:contract"
LONG_MS = int(DEADLINE_S * 1000)


def counter(
    operation: str,
    request: Any = None,
    *,
    timeout_ms: int = LONG_MS,
    kind: Kind = "command",
    subsystem: str = "counter",
) -> Invocation:
    return Invocation(
        subsystem=subsystem,
        key="k",
        operation=operation,
        kind=kind,
        request=request or {},
        state=EMPTY,
        context=context_for("m", 1_700_000_000_000, 1_700_000_010_000, "UTC", "k"),
        digest=DIGESTS[subsystem],
        timeout_ms=timeout_ms,
    )


@unittest.skipUnless(shutil.which("node"), "needs Node")
@unittest.skipUnless(SERVICE.exists(), "needs `npm ci && npm run build` in contracts/typescript")
class TestTypeScriptRuntime(unittest.IsolatedAsyncioTestCase):
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

    async def open_runtime(self, **options: Any) -> TypeScriptRuntime:
        digests = options.pop("digests", DIGESTS)
        runtime = TypeScriptRuntime(self.server.url, "worker-1", digests, **options)
        await runtime.start()
        self.addAsyncCleanup(runtime.close)
        return runtime

    async def start_service(
        self, implementations: Path = SUBSYSTEMS / "implementations.json"
    ) -> asyncio.subprocess.Process:
        service = await asyncio.create_subprocess_exec(
            "node",
            str(SERVICE),
            stderr=asyncio.subprocess.DEVNULL,
            env={
                **os.environ,
                "BRIDGE_REDIS_URL": self.server.url,
                "BRIDGE_CONTRACTS": f"{BUILT_IN}:{SUBSYSTEMS}",
                "BRIDGE_IMPLEMENTATIONS": str(implementations),
            },
        )

        async def end() -> None:
            if service.returncode is None:
                service.kill()
            await service.wait()

        self.addAsyncCleanup(end)
        return service

    async def both(self, **options: Any) -> tuple[TypeScriptRuntime, asyncio.subprocess.Process]:
        runtime, service = await self.open_runtime(**options), await self.start_service()
        await until(lambda: runtime.available("counter"), "the service has joined")
        return runtime, service

    def leases(self) -> int:
        return self.control.zcard("joelclaw:bridge:{counter}:runtime:typescript")

    async def test_a_command_comes_back_with_reply_effects_and_state(self) -> None:
        runtime, _ = await self.both()
        outcome = await runtime.handle(counter("add", {"n": 2, "tag": "é😀"}))
        added = {"n": 2, "total": 2, "tag": "é😀"}
        effects = [{"effect": "emit", "type": "counter.added", "payload": added}]
        state = {"total": 2, "log": ["é😀"], "pad": ""}
        assert outcome == Outcome({"total": 2}, effects, state)

    async def test_many_calls_at_once_are_all_answered(self) -> None:
        runtime, _ = await self.both()
        calls = [runtime.handle(counter("add", {"n": n, "tag": ""})) for n in range(1, 301)]
        outcomes = await asyncio.gather(*calls)
        assert [o.reply["total"] for o in outcomes] == list(range(1, 301))

    async def test_a_handlers_no_is_a_refusal(self) -> None:
        runtime, _ = await self.both()
        with pytest.raises(Refusal) as caught:
            await runtime.handle(counter("fail", {"how": "refuse"}))
        assert caught.value.reason == "no"

    async def test_crash_loop_and_an_answer_off_the_contract_are_faults(self) -> None:
        runtime, _ = await self.both()
        for how, kind in {
            "crash": "crashed",
            "loop": "timeout",
            "bad_reply": "off_contract",
            "bad_effect": "off_contract",
            "bad_state": "off_contract",
        }.items():
            judge = CONTRACT.judge(CONTRACT.operation("fail"), "typescript")
            with self.subTest(how), pytest.raises(RuntimeFault) as caught:
                await runtime.handle(counter("fail", {"how": how}), judge)
            assert caught.value.kind == kind

    async def test_without_a_service_it_is_unavailable_at_once(self) -> None:
        runtime = await self.open_runtime()
        assert not runtime.available("counter")
        with pytest.raises(RuntimeUnavailable):
            await runtime.handle(counter("total", kind="query"))

    async def test_a_service_built_from_another_contract_is_no_service(self) -> None:
        runtime, _ = await self.both()
        other = await self.open_runtime(digests={"counter": "f" * 64, "heartbeat": "f" * 64})
        assert not other.available("counter")
        assert self.control.get(CONTRACT_KEY) == b"f" * 64
        await until(lambda: not runtime.available("counter"), "the service was refused")

    async def test_more_than_the_limit_in_flight_is_overloaded(self) -> None:
        runtime, _ = await self.both(max_in_flight=1)
        first = asyncio.create_task(runtime.handle(counter("total", kind="query")))
        await asyncio.sleep(0)
        with pytest.raises(BridgeError) as caught:
            await runtime.handle(counter("total", kind="query"))
        assert caught.value.code == "overloaded"
        await first

    async def test_what_a_killed_service_had_is_asked_of_another(self) -> None:
        runtime, service = await self.both()
        await self.start_service()
        await until(lambda: self.leases() == 2, "both services have joined")
        service.send_signal(signal.SIGSTOP)
        calls = [
            asyncio.create_task(runtime.handle(counter("add", {"n": n, "tag": ""})))
            for n in range(1, 9)
        ]
        await until(lambda: self.control.xlen(REQUESTS), "it has some of them")
        service.kill()
        self.control.xtrim(REQUESTS, maxlen=0)  # nobody can take over what it had
        outcomes = await asyncio.gather(*calls)
        assert [outcome.reply["total"] for outcome in outcomes] == list(range(1, 9))

    async def test_a_service_that_stands_still_is_unavailable_not_faulty(self) -> None:
        runtime, service = await self.both()
        service.send_signal(signal.SIGSTOP)
        for timeout_ms in (500, LONG_MS):
            with self.subTest(timeout_ms), pytest.raises(RuntimeUnavailable):
                await runtime.handle(counter("total", kind="query", timeout_ms=timeout_ms))
        assert not runtime.available("counter")
        service.send_signal(signal.SIGCONT)
        await until(lambda: runtime.available("counter"), "it goes on")
        outcome = await runtime.handle(counter("total", kind="query"))
        assert outcome.reply == {"total": 0, "log_length": 0}

    async def test_a_killed_redis_makes_it_unavailable_until_it_is_back(self) -> None:
        runtime, service = await self.both()
        service.send_signal(signal.SIGSTOP)
        call = asyncio.create_task(runtime.handle(counter("total", kind="query")))
        await until(lambda: self.control.xlen(REQUESTS), "it has the request")
        self.server.kill9()
        with pytest.raises(RuntimeUnavailable):
            async with asyncio.timeout(DEADLINE_S / 2):  # long before its own timeout
                await call
        with pytest.raises(RuntimeUnavailable):
            await runtime.handle(counter("total", kind="query"))
        self.server.restart()
        service.send_signal(signal.SIGCONT)
        await until(lambda: runtime.available("counter"), "Redis is back")
        await runtime.handle(counter("total", kind="query"))

    async def test_a_redis_that_stands_still_holds_nobody_up(self) -> None:
        runtime, _ = await self.both()
        self.server.stop()
        try:
            calls = [runtime.handle(counter("total", kind="query")) for _ in range(3)]
            async with asyncio.timeout(DEADLINE_S / 2):  # long before their own timeout
                answers = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(a) for a in answers] == [RuntimeUnavailable] * 3
        finally:
            self.server.cont()
        await until(lambda: runtime.available("counter"), "Redis goes on")
        await runtime.handle(counter("total", kind="query"))

    async def test_a_flush_takes_nothing_for_long(self) -> None:
        runtime, _ = await self.both()
        await runtime.handle(counter("total", kind="query"))
        self.control.flushall()
        await until(lambda: self.control.get(CONTRACT_KEY), "the digest is back")
        assert self.control.get(CONTRACT_KEY) == DIGESTS["counter"].encode()
        presence = "joelclaw:bridge:{counter}:runtime:typescript"
        await until(lambda: self.control.zcard(presence) == 1, "its lease is back")
        await until(lambda: runtime.available("counter"), "the service is back")
        await runtime.handle(counter("total", kind="query"))

    async def test_a_service_that_comes_is_seen_at_once_among_many_subsystems(self) -> None:
        others = {f"other-{n}": "0" * 64 for n in range(500)}  # each in turn is seen in 100 s
        runtime = await self.open_runtime(digests={**others, **DIGESTS})
        await self.start_service()
        await until(lambda: runtime.available("counter"), "the service has joined")

    async def test_replies_are_read_although_redis_counts_from_the_past(self) -> None:
        runtime, _ = await self.both()
        await runtime.handle(counter("total", kind="query"))
        stream = "joelclaw:bridge:replies:worker-1"
        self.control.xadd(stream, {"event": "{}"}, id="99999999999999-0")
        await until(lambda: self.control.xlen(stream) == 1, "what was read is trimmed")
        self.control.delete(stream)
        await runtime.handle(counter("total", kind="query"))

    async def test_a_subsystem_with_a_broken_key_takes_no_other_along(self) -> None:
        runtime, _ = await self.both()
        await until(lambda: runtime.available("heartbeat"), "the service has joined")
        presence = "joelclaw:bridge:{counter}:runtime:typescript"
        self.control.delete(presence)
        self.control.set(presence, "a text")
        await until(lambda: not runtime.available("counter"), "its leases cannot be read")
        assert runtime.available("heartbeat")
        self.control.delete(presence)
        await until(lambda: runtime.available("counter"), "it is mended")

    async def test_an_implementation_that_cannot_be_loaded_takes_no_other_along(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "implementations.json"
            file.write_text('{"counter": {"typescript": "./missing.ts"}}')
            runtime = await self.open_runtime()
            await self.start_service(file)
            await until(lambda: runtime.available("heartbeat"), "the service has joined")
            assert not runtime.available("counter")

    async def test_a_request_that_cannot_be_answered_is_dropped(self) -> None:
        await self.both()
        replies = "joelclaw:bridge:replies:gone"
        self.control.set(replies, "a text")
        event = {
            "specversion": "1.0",
            "id": "1",
            "source": "/x",
            "type": "bridge.invocation",
            "subject": "k",
            "replyto": replies,
            "timeoutms": LONG_MS,
            "data": {
                "subsystem": "counter",
                "key": "k",
                "operation": "total",
                "kind": "query",
                "request": {},
                "state": EMPTY,
                "context": {},
                "digest": DIGESTS["counter"],
            },
        }
        self.control.xadd(REQUESTS, {"event": json.dumps(event)})
        await until(lambda: self.control.xinfo_groups(REQUESTS)[0]["entries-read"], "it is read")
        await until(lambda: not self.control.xlen(REQUESTS), "it is dropped")

    async def test_what_is_no_reply_is_passed_over(self) -> None:
        runtime, _ = await self.both()
        stream = "joelclaw:bridge:replies:worker-1"
        for event in ("", "{", "[]", '{"data":{"invocation":[]}}', '{"data":{}}'):
            self.control.xadd(stream, {"event": event})
        self.control.xadd(stream, {"other": "field"})
        await runtime.handle(counter("total", kind="query"))

    async def test_an_answer_that_is_not_json_of_ours_is_judged_and_not_passed_over(self) -> None:
        runtime, service = await self.both()
        service.send_signal(signal.SIGSTOP)
        judge = CONTRACT.judge(CONTRACT.operation("total"), "typescript")
        asked = counter("total", kind="query", timeout_ms=LONG_MS)
        call = asyncio.create_task(runtime.handle(asked, judge))
        await until(lambda: self.control.xlen(REQUESTS), "it has the request")
        entries: Any = self.control.xrange(REQUESTS)
        fields = entries[0][1]
        reply = {"total": 1, "log_length": "\ud83d"}
        data = {"invocation": json.loads(fields[b"event"])["id"], "ok": {"reply": reply}}
        answer = json.dumps({"data": data})
        self.control.xadd("joelclaw:bridge:replies:worker-1", {"event": answer})
        with pytest.raises(RuntimeFault) as caught:
            await call
        assert caught.value.kind == "not_serialisable"
        assert caught.value.detail["pointer"] == "/log_length"

    async def test_what_is_in_flight_when_it_closes_is_unavailable(self) -> None:
        runtime, service = await self.both()
        service.send_signal(signal.SIGSTOP)
        call = asyncio.create_task(runtime.handle(counter("total", kind="query")))
        await asyncio.sleep(0)
        await runtime.close()
        with pytest.raises(RuntimeUnavailable):
            await call
