"""`call` and `listen`: exit codes, and what is printed where."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.deadline import DEADLINE_S, until
from tests.running import Up, environment


def test_call_prints_the_reply_as_json(cli: Cli) -> None:
    done = cli("call", "counter:call", "add", '{"n": 2}')
    assert (done.code, done.out, done.err) == (0, '{"total":2}\n', "")


def test_call_without_a_request_sends_an_empty_object(cli: Cli) -> None:
    assert cli("call", "counter:empty", "total").json == {"total": 0, "log_length": 0}


def test_call_reads_the_request_from_standard_input(cli: Cli) -> None:
    assert cli("call", "counter:stdin", "add", "-", stdin='{"n": 3}\n').json == {"total": 3}


def test_call_with_an_id_counts_once(cli: Cli) -> None:
    for _ in range(2):
        done = cli("call", "counter:id", "add", '{"n": 1}', "--id", "my/message-1")
        assert done.json == {"total": 1}


def test_call_keys_may_hold_colons(cli: Cli) -> None:
    assert cli("call", "counter:a:b", "add").code == 0
    assert "a:b" in cli("journal", "list", "counter", "--key", "a:b").out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("counter:x", "nothing"), "unknown_operation"),
        (("nothing:x", "add"), "unknown_topic"),
        (("counter:x", "add", '{"n": "2"}'), "invalid_request"),
        (("counter:x", "add", "[]"), "invalid_frame"),
        (("counter:x", "fail", '{"how": "refuse"}'), "refused"),
        (("counter:x", "fail", '{"how": "crash"}'), "runtime_fault"),
    ],
)
def test_an_error_reply_is_printed_as_json_with_exit_code_1(
    cli: Cli, arguments: tuple[str, ...], code: str
) -> None:
    done = cli("call", *arguments)
    assert (done.code, done.json["code"], done.err) == (1, code, "")
    assert set(done.json) == {"code", "message", "retryable", "detail"}


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("counter:x",),
        ("counter", "add"),
        (":x", "add"),
        ("counter:", "add"),
        ("counter:x", "add", "{"),
        ("counter:x", "add", '{"n": 1, "n": 2}'),
        ("counter:x", "add", "[]", "--id", "a"),
        ("counter:x", "add", "{}", "--colour", "red"),
    ],
)
def test_a_wrong_use_has_exit_code_2_and_prints_nothing(
    cli: Cli, arguments: tuple[str, ...]
) -> None:
    done = cli("call", *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err


@pytest.mark.parametrize(
    "command",
    [
        ("call", "counter:x", "add"),
        ("listen", "counter:x"),
        ("routes",),
        ("route", "counter", "python"),
        ("journal", "list", "counter"),
        ("outbox",),
        ("timers",),
        ("dead",),
    ],
)
def test_without_a_bridge_one_line_says_what_to_do(alone: Cli, command: tuple[str, ...]) -> None:
    done = alone(*command)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("bridge: no bridge runs in ")
    assert "start it with `bridge up`" in done.err
    assert done.err.count("\n") == 1


def test_an_address_where_nothing_listens_is_one_line(alone: Cli) -> None:
    done = alone("call", "counter:x", "add", "--url", "http://127.0.0.1:1")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("bridge: cannot connect to http://127.0.0.1:1: ")
    assert done.err.count("\n") == 1


def test_the_bridge_is_found_by_its_address_too(up: Up, alone: Cli) -> None:
    done = alone("call", "counter:x", "total", "--url", up.run["url"])
    assert done.code == 0


def test_listen_prints_events_from_a_position_on(cli: Cli, up: Up, tmp_path: Path) -> None:
    assert cli("call", "counter:listen", "add", '{"n": 1}').code == 0
    output = tmp_path / "events"
    with open(output, "w") as file:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "bridge",
                "listen",
                "counter:listen",
                "--since",
                "0-0",
                "--json",
            ],
            env=environment(up.directory),
            stdout=file,
            # A shell that runs the tests in the background has it ignored, and it is inherited.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )
    try:
        asyncio.run(until(lambda: output.read_text().count("\n") == 1, "the old one is there"))
        assert cli("call", "counter:listen", "add", '{"n": 2}').code == 0
        asyncio.run(until(lambda: output.read_text().count("\n") == 2, "the new one is there"))
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_S) == 130
    finally:
        process.kill()
        process.wait()
    first, second = [json.loads(line) for line in output.read_text().splitlines()]
    assert (first["topic"], first["event"], first["seq"]) == (
        "counter:listen",
        "counter.added",
        1,
    )
    assert first["payload"] == {"n": 1, "total": 1, "tag": ""}
    assert second["payload"] == {"n": 2, "total": 3, "tag": ""}


def test_listen_to_what_is_not_there_is_an_error_reply(cli: Cli) -> None:
    done = cli("listen", "nothing:x")
    assert (done.code, done.json["code"]) == (1, "unknown_topic")


def test_a_message_id_in_the_request_is_kept(cli: Cli) -> None:
    request = '{"n": 1, "tag": "", "message_id": "same"}'
    for _ in range(2):
        done = cli("call", "counter:own-id", "add", request)
        assert (done.code, done.json) == (0, {"total": 1})
    assert cli("call", "counter:own-id", "add", request, "--id", "same").json == {"total": 1}
    refused = cli("call", "counter:own-id", "add", request, "--id", "another")
    assert (refused.code, refused.out) == (2, "")
    assert "differ: give one of them" in refused.err
