"""What is being done is said while it is done, once on a terminal, now and then elsewhere."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Iterator

import pytest

from bridge import progress
from bridge.progress import Progress, painted
from tests.deadline import until


class Pipe(io.StringIO):
    """No terminal."""


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, io.TextIOWrapper]]:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    master, slave = os.openpty()
    with os.fdopen(slave, "w") as stream:
        yield master, stream
    os.close(master)


def test_elsewhere_only_what_takes_long_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Pipe()
    monkeypatch.setattr(progress, "SOON_S", 60.0)
    with Progress(stream) as shown:
        shown("what is quick")
        shown("")
    assert stream.getvalue() == ""
    monkeypatch.setattr(progress, "SOON_S", 0.0)
    monkeypatch.setattr(progress, "PAUSE_S", 0.05)
    with Progress(stream) as shown:
        shown("what takes long")
        asyncio.run(until(lambda: stream.getvalue().count("\n") >= 2))
    lines = stream.getvalue().splitlines()
    assert set(lines) == {"bridge: what takes long, 0 s"}


def test_on_a_terminal_one_line_changes_and_is_gone_at_the_end(
    terminal: tuple[int, io.TextIOWrapper], capsys: pytest.CaptureFixture[str]
) -> None:
    master, stream = terminal
    with Progress(stream) as shown:
        shown("this")
        drawn = b""
        while b"this, 0 s" not in drawn:
            drawn += os.read(master, 1024)
        shown.say("what stays")
        assert capsys.readouterr().out == "what stays\n"
    rest = os.read(master, 4096).decode()
    assert rest.endswith(progress.CLEAR)
    assert "\n" not in drawn.decode() + rest


def test_a_stream_that_is_gone_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SOON_S", 0.0)
    stream = Pipe()
    stream.close()
    monkeypatch.setattr(stream, "isatty", lambda: False)
    with Progress(stream) as shown:
        shown("this")


def test_colour_is_for_terminals_that_want_it(
    terminal: tuple[int, io.TextIOWrapper], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, stream = terminal
    assert painted("ok", stream=stream) == "\x1b[32mok\x1b[0m"
    assert painted("other", stream=stream) == "other"
    assert painted("ok", stream=Pipe()) == "ok"
    monkeypatch.setenv("NO_COLOR", "1")
    assert painted("ok", stream=stream) == "ok"
