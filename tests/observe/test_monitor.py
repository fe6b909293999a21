"""Lines of MONITOR, made by us as sdscatrepr makes them, and by a real Redis."""

from __future__ import annotations

import socket
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from bridge.observe.monitor import Command, at_ms_of, concerns, parse
from tests.deadline import DEADLINE_S
from tests.redis_server import RedisServer

_ESCAPES = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 13: "\\r", 34: '\\"', 92: "\\\\"}


def written(word: bytes) -> bytes:
    """Return a word as `sdscatrepr` writes it."""
    parts = (
        _ESCAPES.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}")
        for byte in word
    )
    return ('"' + "".join(parts) + '"').encode()


def line(*words: bytes, source: bytes = b"0 127.0.0.1:60866") -> bytes:
    return b"1339518083.107412 [" + source + b"] " + b" ".join(map(written, words))


@given(st.lists(st.binary() | st.sampled_from([b'" "', b'x" ', b"\\", b'\\" ', b""])))
def test_arguments_are_the_bytes_that_were_sent(words: list[bytes]) -> None:
    command = parse(line(b"lpush", *words))
    assert command == Command(1339518083107, 0, "127.0.0.1:60866", "LPUSH", tuple(words))


@pytest.mark.parametrize(
    ("source", "db", "client"),
    [
        (b"0 lua", 0, "lua"),
        (b"15 [::1]:1234", 15, "[::1]:1234"),
        (b"0 unix:/tmp/my redis.sock", 0, "unix:/tmp/my redis.sock"),
    ],
)
def test_the_source_is_the_database_and_the_client(source: bytes, db: int, client: str) -> None:
    command = parse(line(b"DEL", b"k", source=source))
    assert command is not None
    assert (command.db, command.client) == (db, client)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"OK",
        b"PONG",
        b'1339518083.107412 [0 127.0.0.1:1] "',
        b'1339518083 [0 127.0.0.1:1] "PING"',
        b'1339518083.107412 [x 127.0.0.1:1] "PING"',
        b'now [0 127.0.0.1:1] "PING"',
    ],
)
def test_what_is_no_line_of_monitor_shows_no_command(text: bytes) -> None:
    assert parse(text) is None


def test_a_line_tells_the_time_without_being_parsed() -> None:
    assert at_ms_of(line(b"PING")) == 1339518083107
    assert at_ms_of(b"OK") is None


def test_only_lines_about_joelclaw_or_all_keys_concern_us() -> None:
    assert concerns(line(b"LPUSH", b"joelclaw:events:gateway", b"{}"))
    assert concerns(line(b"flushall", b"ASYNC"))
    assert not concerns(line(b"LPUSH", b"other:events", b"{}" * 100))
    assert not concerns(line(b"SET", b"k", b"flushall"))


def test_redis_writes_what_we_read() -> None:
    everything = bytes(range(256))
    with (
        RedisServer(appendonly=False) as server,
        socket.create_connection(("127.0.0.1", server.port), DEADLINE_S) as watching,
        Redis(port=server.port) as client,
    ):
        watching.sendall(b"MONITOR\r\n")
        stream = watching.makefile("rb")
        assert stream.readline() == b"+OK\r\n"
        before_ms = time.time_ns() // 1_000_000
        client.lpush("joelclaw:events:gateway", everything, 12, "né")
        client.eval("redis.call('DEL', KEYS[1])", 1, "joelclaw:events:gateway")
        seen: list[Command] = []
        while not seen or seen[-1].name != "DEL":
            command = parse(stream.readline().removeprefix(b"+").removesuffix(b"\r\n"))
            assert command is not None
            seen.append(command)
    pushed = next(command for command in seen if command.name == "LPUSH")
    assert pushed.args == (b"joelclaw:events:gateway", everything, b"12", "né".encode())
    assert pushed.db == 0
    assert pushed.client.startswith("127.0.0.1:")
    assert before_ms - 1 <= pushed.at_ms <= time.time_ns() // 1_000_000
    assert seen[-1].client == "lua"
    assert seen[-1].args == (b"joelclaw:events:gateway",)
