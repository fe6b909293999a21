"""joelclaw's terminal client on real sockets, a real journal and real handlers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.joelclaw.terminal.bench import Bench, run

# What the unmodified client sent, byte for byte (joelclaw at e6376619, under Bun 1.4.5): its
# request, the question it asks when it is connected, a line typed into it, and `/abort`.
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1:34019\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    b"Sec-WebSocket-Key: LbKHYd8D2UvWb7WiKxBBUQ==\r\n\r\n"
)
ACCEPTED = b"Sec-WebSocket-Accept: cxNyfz5SH740e+NcMzgUj3AULRA=\r\n"
ASKED = b"\x81\x91\xf4_g7\x8f}\x13N\x84:E\r\xd6,\x13V\x80*\x14\x15\x89"
TYPED = (
    b"\x81\xb2U\xefQz.\xcd%\x03%\x8as@w\x9f#\x158\x9f%Xy\xcd%\x1f-\x9bs@w\x874\x169\x80q\x1c'\x80<Z!"
    b"\x874Z'\x8a0\x16u\x9b$\x13w\x92"
)
ABORTED = b"\x81\x90dI\x12\x16\x1fkfo\x14,0,F(py\x16=0k"


# -- frames --------------------------------------------------------------------------------
async def frame_of(reader: asyncio.StreamReader) -> Any:
    """Read one unmasked text frame of a server (RFC 6455, 5.2)."""
    head = await reader.readexactly(2)
    assert head[0] == 0x81
    length = head[1]
    if length == 126:
        length = int.from_bytes(await reader.readexactly(2))
    return json.loads(await reader.readexactly(length))


def test_the_real_clients_bytes_are_answered() -> None:
    async def test(bench: Bench) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        writer.write(HANDSHAKE)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert ACCEPTED in head
        status = await frame_of(reader)
        assert status["type"] == "status"
        writer.write(ASKED)
        again = await frame_of(reader)
        assert again["data"].keys() == status["data"].keys()
        writer.write(TYPED)
        assert [await frame_of(reader) for _ in range(4)] == [
            {"type": "text_delta", "delta": "hello fr"},
            {"type": "text_delta", "delta": "om the r"},
            {"type": "text_delta", "delta": "eal tui"},
            {"type": "turn_end"},
        ]
        writer.write(ABORTED)
        assert await frame_of(reader) == {
            "type": "error",
            "message": "nothing_runs: a turn is over as soon as it began",
        }
        writer.close()

    run(test)


def test_the_status_has_every_member_the_daemon_sends() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client() as client:
            await client.send({"type": "status"})
            data = (await client.receive())["data"]
            assert data.keys() == {
                "sessionId",
                "isStreaming",
                "model",
                "uptimeMs",
                "pid",
                "channelInfo",
                "queueDepth",
            }
            assert (data["sessionId"], data["model"]) == ("main", "echo")  # the subsystem's word
            assert data["channelInfo"] == {
                "bridge": "one",
                "redis": "ok",
                "ws": {"port": bench.port, "clients": 1},
            }

    run(test)


def test_what_one_types_all_see_in_the_same_order() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client() as one, bench.client() as two, bench.client() as three:
            texts = [f"prompt {n} of one client" for n in range(10)]
            for text in texts:
                await one.send({"type": "prompt", "text": text})
            for client in (one, two, three):
                assert [await client.said() for _ in texts] == texts

    run(test)


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        ("no json", "invalid_frame: joelclaw TerminalRequest: the text is not JSON"),
        (b"\xff", "invalid_text: joelclaw TerminalRequest: the text is not UTF-8"),
        ([], "expected exactly one of the alternatives, got array"),
        ({"type": "prompt"}, "expected member 'text', got object"),
        ({"type": "prompt", "text": ""}, "/text breaks minLength: expected 1, got string"),
        ({"type": "prompt", "text": 7}, "/text breaks type: expected string, got integer"),
        ({"type": "quit"}, "send `prompt`, `abort` or `status`"),
        ({"type": "prompt", "text": "a" * 100_001}, "/text breaks maxLength: expected 100000"),
        ({"type": "abort"}, "nothing_runs: a turn is over as soon as it began"),
    ],
)
def test_a_frame_that_cannot_be_taken_is_answered_and_the_socket_stays(
    frame: Any, told: str
) -> None:
    async def test(bench: Bench) -> None:
        async with bench.client() as client, bench.client() as other:
            await client.send(frame)
            answer = await client.receive()
            assert answer["type"] == "error"
            assert told in answer["message"]
            await client.send({"type": "prompt", "text": "next"})
            assert await client.said() == "next"
            assert await other.turn() == [  # the error was not its business
                {"type": "text_delta", "delta": "next"},
                {"type": "turn_end"},
            ]

    run(test)


def test_a_prompt_in_a_binary_frame_is_taken_as_the_daemon_takes_it() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client() as client:
            await client.send(b'{"type":"prompt","text":"bytes"}')
            assert await client.said() == "bytes"

    run(test)


def test_a_frame_over_the_limit_closes_with_1009() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client() as client:
            await client.send("x" * 2000)
            assert await client.closed() == 1009

    run(test, max_frame_bytes=1024)


def test_only_the_topics_events_become_frames() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client() as client:
            await bench.show("terminal.text_delta", {"delta": "of another key"}, key="other")
            await bench.show("text_delta", {"delta": "of another type"})
            await bench.show("terminal.status", {"data": {}})
            call = {"id": "1", "toolName": "bash", "input": {"command": "ls"}}
            await bench.show("terminal.tool_call", call)
            result = {"id": "1", "toolName": "bash", "content": [{"type": "text", "text": "a"}]}
            await bench.show("terminal.tool_result", {**result, "isError": True})
            await bench.show("terminal.error", {"message": "Tool bash failed (1)"})
            assert [await client.receive() for _ in range(3)] == [
                {"type": "tool_call", **call},
                {"type": "tool_result", **result, "isError": True},
                {"type": "error", "message": "Tool bash failed (1)"},
            ]

    run(test)


def test_an_event_that_is_no_frame_is_told_not_sent() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client() as client:
            await bench.show("terminal.text_delta", {"text": "the member is `delta`"})
            answer = await client.receive()
            assert answer["type"] == "error"
            assert "expected member 'delta'" in answer["message"]
            await client.send({"type": "prompt", "text": "go on"})
            assert await client.said() == "go on"
        assert bench.count("terminal_off_contract") == 1

    run(test)


def test_output_that_was_trimmed_before_it_was_read_is_told() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client() as client:
            await client.send({"type": "prompt", "text": "x" * 2400})  # 300 pieces in one commit
            first, *rest = await client.turn()
            assert "some output is missing" in first["message"]
            assert 100 <= len(rest) < 301  # what the stream still had

    run(test, events_keep=100)


# -- the built-in relay --------------------------------------------------------------------
def test_a_prompt_is_left_for_the_session_and_what_it_says_is_shown() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client() as client:
            await client.send({"type": "prompt", "text": "anybody?"})
            assert (await client.receive())["message"].startswith("no_session: ")
            await bench.ask("configure", {"session": "desk"})
            await client.send({"type": "prompt", "text": "is it in sync?"})
            await client.send({"type": "status"})
            data = (await client.receive())["data"]
            assert (data["sessionId"], data["isStreaming"], data["queueDepth"]) == (
                "desk",
                False,
                1,
            )
            [entry] = await bench.journal.outbox("terminal")
            assert entry.effect == {
                "effect": "system_event",
                "session": "desk",
                "type": "terminal.prompt",
                "payload": {"prompt": "is it in sync?", "originSession": "terminal:main"},
            }
            await bench.ask("say", {"frame": {"type": "text_delta", "delta": "It is."}})
            await bench.ask("say", {"frame": {"type": "turn_end"}})
            assert await client.said() == "It is."
            await client.send({"type": "abort"})  # is no frame: it is the session's to see
            await client.send({"type": "status"})
            assert (await client.receive())["data"]["queueDepth"] == 0

    run(test, terminal="terminal:main")
