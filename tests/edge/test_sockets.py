"""Sockets on a real edge: joins, pushes, order, limits, bad input, close codes."""

from __future__ import annotations

import json
import time

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.deadline import until
from tests.edge.rig import rig, run


def test_a_push_is_answered_with_the_dispatchers_reply() -> None:
    async def main() -> None:
        async with rig() as r, r.client() as client:
            assert await client.join("counter:a") == {"position": "0-0"}
            reply = await client.ask("counter:a", "add", {"n": 2})
            assert reply == {"status": "ok", "response": {"total": 2}}
            reply = await client.ask("counter:a", "total", {})
            assert reply == {"status": "ok", "response": {"total": 2}}

    run(main())


def test_version_1_is_spoken_without_vsn() -> None:
    async def main() -> None:
        async with rig() as r, r.client(query="") as client:
            join = {"topic": "counter:a", "event": "phx_join", "payload": {}, "ref": "1"}
            await client.connection.send(json.dumps(join))
            assert json.loads(await client.connection.recv()) == {
                "topic": "counter:a",
                "event": "phx_reply",
                "ref": "1",
                "payload": {"status": "ok", "response": {"position": "0-0"}},
            }
            await client.connection.send(
                '{"topic":"counter:a","event":"add","payload":{},"ref":"2"}'
            )
            frames = [json.loads(await client.connection.recv()) for _ in range(2)]
            event = next(frame for frame in frames if frame["event"] == "counter.added")
            assert (event["topic"], event["ref"]) == ("counter:a", None)
            assert event["payload"]["payload"] == {"n": 1, "total": 1}

    run(main())


def test_a_message_id_makes_a_push_repeatable_and_is_made_when_missing() -> None:
    async def main() -> None:
        async with rig() as r, r.client() as client:
            await client.join("counter:a")
            for _ in range(2):
                reply = await client.ask("counter:a", "add", {"n": 2, "message_id": "m-1"})
                assert reply["response"] == {"total": 2}
            await client.ask("counter:a", "add", {"n": 1, "runtime": "elixir"})
            assert [m.id for m in r.dispatcher.seen[:2]] == ["m-1", "m-1"]
            assert r.dispatcher.seen[0].request == {"n": 2}
            made = r.dispatcher.seen[2].id
            assert (len(made), made[14]) == (36, "4")
            assert r.dispatcher.runtimes == [None, None, "elixir"]

    run(main())


def test_commands_of_one_topic_run_one_after_another_and_queries_at_once() -> None:
    async def main() -> None:
        async with rig() as r, r.client() as client:
            await client.join("counter:a")
            await client.join("counter:b", ref="2")
            await client.send("1", "h", "counter:a", "hold", {"n": 1})
            for n in range(20):
                await client.send("1", f"a{n}", "counter:a", "add", {"n": 1})
            assert (await client.ask("counter:a", "total", {}))["response"] == {"total": 0}
            other = await client.ask("counter:b", "add", {"n": 5}, join_ref="2")
            assert other["response"] == {"total": 5}
            on_a = [m.operation for m in r.dispatcher.seen if m.key == "a"]
            assert on_a == ["hold", "total"]
            r.dispatcher.gate.set()
            for n in range(20):
                assert (await client.reply(f"a{n}"))["response"] == {"total": n + 2}

    run(main())


def test_commands_keep_their_order_through_a_rejoin() -> None:
    async def main() -> None:
        async with rig() as r, r.client() as client:
            await client.join("counter:a")
            await client.send("1", "h", "counter:a", "hold", {"n": 1})
            await client.send("1", "x", "counter:a", "add", {"n": 2})
            await client.join("counter:a", ref="2")
            await client.send("2", "y", "counter:a", "add", {"n": 3})
            r.dispatcher.gate.set()
            assert (await client.reply("y"))["response"] == {"total": 6}
            assert [m.request["n"] for m in r.dispatcher.seen] == [1, 2, 3]

    run(main())


def test_queued_commands_of_a_lost_client_are_dropped() -> None:
    async def main() -> None:
        async with rig() as r:
            async with r.client() as client:
                await client.join("counter:a")
                await client.send("1", "h", "counter:a", "hold", {})
                await client.send("1", "x", "counter:a", "add", {})
                await client.ask("counter:a", "total", {})
            await until(lambda: not r.edge.sockets)
            r.dispatcher.gate.set()
            async with r.client() as client:
                await client.join("counter:a")
                await client.ask("counter:a", "add", {})
            assert [m.operation for m in r.dispatcher.seen] == ["hold", "total", "add"]

    run(main())


@pytest.mark.parametrize(
    ("event", "payload", "code"),
    [
        ("nothing", {}, "unknown_operation"),
        ("phx_reply", {}, "unknown_operation"),
        ("refuse", {}, "refused"),
        ("crash", {}, "internal"),
        ("add", [1], "invalid_frame"),
        ("add", {"message_id": ""}, "invalid_request"),
    ],
)
def test_an_error_is_a_reply_and_the_socket_stays_open(
    event: str, payload: object, code: str
) -> None:
    async def main() -> None:
        async with rig() as r, r.client() as client:
            await client.join("counter:a")
            reply = await client.ask("counter:a", event, payload)
            assert reply["status"] == "error"
            assert set(reply["response"]) == {"code", "message", "retryable", "detail"}
            assert reply["response"]["code"] == code
            assert (await client.ask("counter:a", "total", {}))["status"] == "ok"
            assert r.edge._in_flight() == 0

    run(main())


@pytest.mark.parametrize(
    ("text", "ref", "code"),
    [
        ("hello", None, "invalid_frame"),
        ("", None, "invalid_frame"),
        ("[]", None, "invalid_frame"),
        ("{}", None, "invalid_frame"),
        ('["1","9","counter:a","add"]', "9", "invalid_frame"),
        ('["1","9","counter:a","add",{"n":1e999}]', "9", "invalid_number"),
        (
            '["1","9","counter:a","add",' + '{"a":' * 70 + "1" + "}" * 70 + "]",
            "9",
            "limit_exceeded",
        ),
        ('["1","9","counter:a","add",' + "[" * 200_000, "9", "limit_exceeded"),
        ('["1","9","nobody:a","add",{}]', "9", "unmatched_topic"),
        ('["1","9","nobody:a","phx_join",{}]', "9", "unknown_topic"),
        (bytes([0, 1, 1, 9, 3]) + b"19counter:aadd\x00", "9", "unsupported_binary"),
        (b"\x07junk", None, "invalid_frame"),
    ],
    ids=range(12),
)
def test_a_wrong_frame_is_answered_and_the_socket_stays_open(
    text: str | bytes, ref: str | None, code: str
) -> None:
    async def main() -> None:
        async with rig() as r, r.client() as client:
            await client.join("counter:a")
            await client.connection.send(text)
            reply = await client.reply(ref)
            assert reply["status"] == "error"
            assert reply["response"]["code"] == code
            assert (await client.ask("counter:a", "total", {}))["status"] == "ok"

    run(main())


def test_a_binary_push_reaches_an_operation_with_a_content_type() -> None:
    async def main() -> None:
        async with rig() as r, r.client() as client:
            await client.join("counter:a")
            await client.connection.send(bytes([0, 1, 1, 9, 6]) + b"19counter:aupload\x00\xff")
            assert await client.reply("9") == {"status": "ok", "response": {"base64": "AP8="}}

    run(main())


def test_ten_unreadable_frames_in_a_row_close_with_1008() -> None:
    async def main() -> None:
        async with rig() as r, r.client() as client:
            for _ in range(10):
                await client.connection.send("{")
            assert await client.closed() == 1008

    run(main())


def test_a_frame_that_is_too_large_closes_with_1009() -> None:
    async def main() -> None:
        async with rig(max_frame_bytes=2048) as r, r.client() as client:
            await client.join("counter:a")
            await client.send("1", "2", "counter:a", "add", {"pad": "x" * 3000})
            assert await client.closed() == 1009

    run(main())


def test_a_frame_in_fragments_is_limited_as_a_whole() -> None:
    async def main() -> None:
        async with rig(max_frame_bytes=2048) as r, r.client() as client:
            await client.connection.send("x" * 500 for _ in range(5))
            assert await client.closed() == 1009

    run(main())


def test_text_that_is_not_utf_8_closes_with_1007() -> None:
    async def main() -> None:
        async with rig() as r, r.client() as client:
            await client.connection.send(b"\xff\xfe", text=True)
            assert await client.closed() == 1007

    run(main())


def test_pushes_beyond_the_limit_in_flight_are_overloaded() -> None:
    async def main() -> None:
        async with rig(max_in_flight=2) as r, r.client() as client:
            await client.join("counter:a")
            for ref in ("x", "y"):
                await client.send("1", ref, "counter:a", "slow", {})
            reply = await client.ask("counter:a", "slow", {})
            assert reply["response"]["code"] == "overloaded"
            assert reply["response"]["retryable"] is True
            r.dispatcher.gate.set()
            assert (await client.reply("y"))["status"] == "ok"

    run(main())


def test_topics_beyond_the_limit_are_refused() -> None:
    async def main() -> None:
        async with rig(max_topics=1) as r, r.client() as client:
            await client.join("counter:a")
            await client.send("2", "2", "counter:b", "phx_join", {})
            assert (await client.reply("2"))["response"]["code"] == "limit_exceeded"

    run(main())


def test_a_command_that_waited_out_its_deadline_is_not_dispatched() -> None:
    async def main() -> None:
        async with rig(timeout_ms=100) as r, r.client() as client:
            await client.join("counter:a")
            await client.send("1", "h", "counter:a", "hold", {})
            await client.send("1", "x", "counter:a", "add", {})
            over = time.monotonic() + 0.2
            await until(lambda: time.monotonic() > over)
            r.dispatcher.gate.set()
            reply = await client.reply("x")
            assert reply["response"]["code"] == "deadline_exceeded"
            assert [m.operation for m in r.dispatcher.seen] == ["hold"]

    run(main())


def test_a_client_that_sends_nothing_is_closed_with_4408() -> None:
    async def main() -> None:
        async with rig(idle_timeout_ms=100) as r, r.client() as client:
            await client.join("counter:a")
            assert await client.closed() == 4408

    run(main())


def test_a_client_that_does_not_read_is_dropped_and_others_are_served() -> None:
    async def main() -> None:
        async with rig(max_queue_frames=50) as r, r.client() as slow, r.client() as other:
            await slow.join("counter:a")
            slow.connection.transport.pause_reading()
            for n in range(400):
                await slow.send("1", f"q{n}", "counter:a", "large", {"bytes": 100_000})
            await until(lambda: "socket_closed{code=1013}" in r.telemetry.counts())
            await other.join("counter:a")
            assert (await other.ask("counter:a", "total", {}))["status"] == "ok"
            slow.connection.transport.resume_reading()
            assert await slow.closed() == 1013

    run(main())


@pytest.mark.parametrize(
    ("query", "path", "status"),
    [
        ("vsn=3.0.0", "/socket/websocket", 400),
        ("vsn=2", "/socket/websocket", 400),
        ("vsn=", "/socket/websocket", 400),
        ("vsn=2.0.0", "/elsewhere", 404),
    ],
)
def test_a_socket_that_cannot_be_is_an_http_answer(query: str, path: str, status: int) -> None:
    async def main() -> None:
        async with rig() as r:
            with pytest.raises(InvalidStatus) as refused:
                await connect(r.url(query, path), proxy=None)
            assert refused.value.response.status_code == status
            assert set(json.loads(refused.value.response.body)) == {
                "code",
                "message",
                "retryable",
                "detail",
            }

    run(main())
