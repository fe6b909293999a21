"""`bridge observe` beside a real Redis, as a process, and `bridge replay` of what it recorded."""

from __future__ import annotations

import json
import os
import pty
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.cli.conftest import Cli
from tests.deadline import DEADLINE_S
from tests.redis_server import RedisServer
from tests.running import environment

GATEWAY, MESSAGES = "joelclaw:events:gateway", "joelclaw:gateway:messages"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer(appendonly=False) as running:
        yield running


@pytest.fixture
def client(server: RedisServer) -> Iterator[Redis]:
    with Redis(port=server.port, decode_responses=True) as connected:
        yield connected


def event(id: str, type: str = "test", **changes: Any) -> str:
    whole = {"id": id, "type": type, "source": "cli", "payload": {}, "ts": 1795380404972}
    return json.dumps(whole | changes, separators=(",", ":"))


def handle(client: Redis) -> None:
    """Push four events and do with them what the daemon does: one is lost."""
    for item in (event("a"), event("b", "progress"), event("c", "discovery.captured")):
        client.lpush(GATEWAY, item)
    client.lrange(GATEWAY, 0, -1)
    client.rpush("joelclaw:events:batch", event("c", "discovery.captured"))
    client.lpush(GATEWAY, event("d"))
    fields = {"source": "gateway", "prompt": "…", "metadata": '{"eventIds":["a"]}'}
    client.xadd(MESSAGES, fields)  # type: ignore[arg-type] # its mapping is invariant
    client.delete(GATEWAY)


def waited(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def rest(terminal: int) -> str:
    """Return what comes until the other end is closed."""
    text = ""
    with suppress(OSError):  # Linux has an error for it, macOS an empty read
        while read := os.read(terminal, 65536):
            text += read.decode()
    return text


@contextmanager
def observing(
    server: RedisServer, client: Redis, directory: Path, *arguments: str, **how: Any
) -> Iterator[subprocess.Popen[str]]:
    """Run the command; it watches when the block begins."""
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | how
    process = subprocess.Popen(
        [sys.executable, "-m", "bridge", "observe", "--redis", server.url, *arguments],
        env=environment(directory),
        **how,
    )
    try:
        waited(lambda: any("O" in found["flags"] for found in client.client_list()))
        yield process
    finally:
        process.kill()
        process.wait()


def test_it_counts_records_and_ends_after_its_time(
    server: RedisServer, client: Redis, tmp_path: Path
) -> None:
    with observing(server, client, tmp_path, "--json", "--for", "2s") as process:
        handle(client)
        out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    summary = json.loads(out.splitlines()[-1])["summary"]
    fates = {"prompt": 1, "batched": 1, "suppressed": 1, "lost": 1}
    assert summary["fates"] == fates
    assert summary["types"]["test"] == {"events": 2, "prompt": 1, "lost": 1}
    assert list(summary["lost"]) == ["window"]
    assert 1000 < summary["until_ms"] - summary["from_ms"] < 4000
    assert "Nothing is written to Redis" in err
    assert "stops by itself above 10,000 commands a second" in err
    (recording,) = tmp_path.glob("observed-*.ndjson")
    assert f"bridge: recording: {recording}" in err
    assert stat.S_IMODE(recording.stat().st_mode) == 0o600
    lines = [json.loads(line) for line in recording.read_text().splitlines()]
    assert lines[0]["redis"] == f"127.0.0.1:{server.port}/0"
    assert lines[-1]["summary"]["fates"] == fates


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_the_summary(
    server: RedisServer, client: Redis, tmp_path: Path, number: signal.Signals
) -> None:
    with observing(server, client, tmp_path) as process:
        handle(client)
        process.send_signal(number)
        out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    lines = out.splitlines()
    assert lines[0].startswith(f"127.0.0.1:{server.port} for 0s: 4 events in ")
    assert lines[2].split() == ["type", "events", "prompt", "batched", "suppressed", "lost"]
    assert lines[3].split() == ["test", "2", "1", "0", "0", "1"]
    assert lines[6].split() == ["all", "4", "1", "1", "1", "1"]
    assert lines[8].startswith("1 lost: deleted unread: it came between the reader's LRANGE")
    assert lines[9].startswith("  d (test) pushed ")
    assert "Traceback" not in err


def test_on_a_terminal_the_table_is_drawn_again(
    server: RedisServer, client: Redis, tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    with observing(server, client, tmp_path, stdout=theirs) as process:
        os.close(theirs)
        screen = ""
        handle(client)
        while screen.count("observing 127.0.0.1") < 2:
            screen += os.read(ours, 65536).decode()
        assert "\x1b[" in screen
        process.send_signal(signal.SIGINT)
        screen += rest(ours)
        assert process.wait(DEADLINE_S) == 0
    os.close(ours)
    assert f"127.0.0.1:{server.port} for " in screen.rpartition("\x1b[J")[2]


def test_whoever_reads_its_output_no_more_ends_it(
    server: RedisServer, client: Redis, tmp_path: Path
) -> None:
    with observing(server, client, tmp_path, "--for", "1s") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(DEADLINE_S) == 1
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
    (recording,) = tmp_path.glob("observed-*.ndjson")
    assert "summary" in json.loads(recording.read_text().splitlines()[-1])


def test_a_busy_redis_ends_it_early(server: RedisServer, client: Redis, tmp_path: Path) -> None:
    with observing(server, client, tmp_path, "--max-commands", "300") as process:
        waited(lambda: [client.set("k", "v") for _ in range(100)] and process.poll() is not None)
        _, err = process.communicate()
    assert process.returncode == 1
    assert "bridge: stopped early: Redis is busy: " in err


def test_without_a_redis_nothing_is_left_behind(alone: Cli, tmp_path: Path) -> None:
    result = alone("observe", "--redis", "redis://127.0.0.1:1")
    assert result.code == 1
    assert result.err.splitlines()[-1].endswith(": nothing was observed")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--redis URL, or BRIDGE_JOELCLAW_REDIS_URL, says which Redis"),
        (("--redis", "http://x"), "expected redis://HOST:PORT, rediss:// or unix://, got 'http'"),
        (("--redis", "redis://x", "--for", "24"), "expected a time such as 90s, 15m or 24h"),
        (("--redis", "redis://x", "--for", "h1"), "expected a time such as 90s, 15m or 24h"),
    ],
)
def test_what_is_asked_wrongly_is_said(alone: Cli, arguments: tuple[str, ...], said: str) -> None:
    result = alone("observe", *arguments)
    assert result.code == 2
    assert said in result.err


def test_a_recording_that_is_there_is_not_overwritten(alone: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    result = alone(
        "observe", "--redis", "redis://127.0.0.1:1", "--record", str(tmp_path / "mine")
    )
    assert (result.code, (tmp_path / "mine").read_text()) == (2, "mine")


# -- replay -------------------------------------------------------------------------------------
@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "recording.ndjson"
    lines: list[dict[str, Any]] = [{"recording": 1, "at_ms": 1}]
    for n, (item, fate) in enumerate(
        [(event("a"), "prompt"), (event("b", "progress"), "suppressed"), (event("c"), "lost")]
    ):
        lines.append({"n": n, "at_ms": 1_000, "session": "gateway", "event": json.loads(item)})
        lines.append({"n": n, "at_ms": 1_000, "fate": fate})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_decisions_are_compared_and_losses_are_no_difference(alone: Cli, recording: Path) -> None:
    result = alone("replay", str(recording))
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0] == (
        "3 events through triage in python: 2 decided as the daemon did, 0 otherwise, "
        "1 that it dropped, 0 not compared"
    )
    assert lines[2] == "dropped by the daemon, and what ours decides:"
    assert lines[4].split() == ["lost", "immediate", "1", "c", "test", "1"]


def add_difference(recording: Path) -> None:
    with open(recording, "a") as file:
        for line in (
            {"n": 9, "at_ms": 2, "session": "gateway", "event": json.loads(event("x"))},
        ):
            file.write(json.dumps(line) + "\n")
        file.write(json.dumps({"n": 9, "at_ms": 2, "fate": "batched"}) + "\n")


def test_a_difference_that_was_accepted_is_none_of_the_exit_code(
    cli: Cli, recording: Path
) -> None:
    add_difference(recording)
    accepted = cli(
        *("diff", "accept", "triage", "/reply/decision", "batched/immediate"),
        *("--owner", "ann", "--reason", "it is new", "--json"),
    ).json
    result = cli("replay", str(recording))
    assert result.code == 0
    assert "accepted: batched/immediate by ann, it is new" in result.out
    assert cli("diff", "forget", "triage", accepted["id"]).code == 0
    assert cli("replay", str(recording)).code == 1


def test_a_difference_is_the_exit_code(alone: Cli, recording: Path) -> None:
    add_difference(recording)
    result = alone("replay", str(recording), "--json")
    assert result.code == 1
    assert {
        "kind": "different",
        "daemon": "batched",
        "ours": "immediate",
        "count": 1,
        "example": "x",
        "types": {"test": 1},
        "accepted": "",
    } in result.rows


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "No such file"), ("hello\n", "no recording of `bridge observe`: its first line")],
)
def test_what_is_no_recording_is_said_to_be_none(
    alone: Cli, tmp_path: Path, text: str | None, said: str
) -> None:
    path = tmp_path / "other"
    if text is not None:
        path.write_text(text)
    result = alone("replay", str(path))
    assert result.code == 1
    assert said in result.err


CONTRACT: dict[str, Any] = {
    "name": "mine",
    "version": 1,
    "summary": "Takes events.",
    "owner": "python",
    "fallback": None,
    "assign": "message",
    "timeout_ms": 1000,
    "max_state_bytes": 1024,
    "state": {"$ref": "#/$defs/Nothing"},
    "initial_state": {},
    "operations": {
        "receive": {
            "kind": "command",
            "summary": "Take an event.",
            "request": {"$ref": "#/$defs/Receive"},
            "reply": {"$ref": "#/$defs/Reply"},
        }
    },
    "$defs": {
        "Nothing": {"type": "object", "additionalProperties": False},
        "Receive": {
            "type": "object",
            "required": ["event"],
            "additionalProperties": False,
            "properties": {"event": {"type": "object", "additionalProperties": True}},
        },
        "Reply": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"decision": {"type": "string"}, "seen": {"type": "boolean"}},
        },
    },
}


@pytest.mark.parametrize(
    ("reply", "code", "said"),
    [
        ({"decision": "immediate"}, 1, "suppressed  immediate"),
        ({"seen": True}, 2, "mine receive replies no `decision`"),
    ],
)
def test_a_subsystem_of_ones_own_is_replayed_as_well(
    alone: Cli, recording: Path, tmp_path: Path, reply: dict[str, Any], code: int, said: str
) -> None:
    folder = tmp_path / "subsystems" / "mine"
    folder.mkdir(parents=True)
    (folder / "subsystem.json").write_text(json.dumps(CONTRACT))
    (folder / f"handler_{code}.py").write_text(
        f"def handle(state, operation, request, context):\n    return {reply!r}, [], state\n"
    )
    where = tmp_path / "subsystems" / "implementations.json"
    where.write_text(json.dumps({"mine": {"python": f"mine.handler_{code}:handle"}}))
    folders = ("--contracts", str(folder.parent), "--implementations", str(where))
    result = alone("replay", str(recording), "--subsystem", "mine", *folders)
    assert result.code == code
    assert said in result.out + result.err


def test_a_subsystem_that_does_not_exist_is_named(alone: Cli, recording: Path) -> None:
    result = alone("replay", str(recording), "--subsystem", "other")
    assert result.code == 1
    assert "no subsystem 'other'" in result.err
