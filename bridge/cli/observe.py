"""`bridge observe`: watch joelclaw's events and what becomes of them; writes nothing to Redis."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import shutil
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from bridge.cli import observed
from bridge.cli.command import (
    Call,
    CommandFailed,
    Commands,
    UsageError,
    add_command,
    say_error,
    say_json,
)
from bridge.observe.observer import CannotObserve, Limits, Observer
from bridge.observe.recording import Recording
from bridge.redis.address import Address
from bridge.telemetry import Telemetry

DEFAULT = Limits()
DRAW_S = 1.0
LINE_S = 10.0
UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}

WARNING = """\
MONITOR has Redis copy every command of every client to this connection, payloads included. At \
full load that can cost it three quarters of what it does, at joelclaw's load next to nothing.
Nothing is written to Redis.
It stops by itself above {commands:,} commands a second, or when it cannot keep up. Redis keeps \
in memory what is not read: do not stop this process (SIGSTOP).
The recording {path} holds payloads: only you may read it.
Ctrl-C ends it, with a summary."""


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "observe",
        "watch joelclaw's events and what becomes of them; exit code 1 if it ended early",
        _run,
    )
    parser.add_argument(
        "--redis", metavar="URL", help="joelclaw's Redis, default: BRIDGE_JOELCLAW_REDIS_URL"
    )
    parser.add_argument(
        "--for",
        dest="seconds",
        metavar="TIME",
        type=_seconds,
        help="how long, such as 90s, 15m, 24h; default: until Ctrl-C",
    )
    parser.add_argument(
        "--record",
        metavar="FILE",
        type=Path,
        help="write the recording there, default: <BRIDGE_DIR>/observed-<time>.ndjson",
    )
    parser.add_argument(
        "--max-commands",
        metavar="N",
        type=int,
        default=DEFAULT.commands_per_s,
        help="stop when Redis executes more than N commands a second for "
        f"{DEFAULT.busy_s} seconds, default {DEFAULT.commands_per_s}",
    )


def _run(call: Call) -> int:
    url = call.args.redis or call.settings.joelclaw_redis_url
    if not url:
        raise UsageError("--redis URL, or BRIDGE_JOELCLAW_REDIS_URL, says which Redis")
    try:
        address = Address.parse(url)
    except ValueError as error:
        raise UsageError(str(error)) from None
    started = datetime.now(UTC)
    path = call.args.record or Path(call.settings.dir, f"observed-{started:%Y%m%d-%H%M%S}.ndjson")
    return asyncio.run(_observe(call, address, path))


async def _observe(call: Call, address: Address, path: Path) -> int:
    try:
        recording = Recording(path)
    except FileExistsError:
        raise UsageError(f"{path} is there already: --record takes a new file") from None
    except OSError as error:
        raise CommandFailed(f"{path}: {error.strerror}") from None
    telemetry = Telemetry()
    telemetry.attach(lambda name, labels: say_error(f"{_SAID[name]}: {labels['text']}"))
    limits = Limits(commands_per_s=call.args.max_commands)
    observer = Observer(address, telemetry, recording, limits)
    for line in WARNING.format(commands=limits.commands_per_s, path=path).splitlines():
        say_error(line)
    stop = _stopping(call.args.seconds)  # before anybody can see that it watches
    try:
        await observer.open()
    except CannotObserve as error:
        recording.discard()
        raise CommandFailed(f"{error}: nothing was observed") from None
    display = _Display(call, observer, str(address))
    showing = asyncio.create_task(display.run(stop))
    try:
        why = await observer.run(stop)
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)
        recording.close()
    display.end(why)
    if why:
        say_error(f"stopped early: {why}")
    say_error(f"recording: {path}")
    return int(bool(why))


_SAID = {
    "observe_away": "nothing is seen now, trying again",
    "observe_back": "observing again",
}


def _stopping(seconds: float | None) -> asyncio.Event:
    """Return the event that a signal sets, or the end of the time; a second signal kills."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def once() -> None:
        stop.set()
        for number in numbers:
            loop.remove_signal_handler(number)

    for number in numbers:
        loop.add_signal_handler(number, once)
    # Stopped by Ctrl-Z, it would read no more, and Redis would keep all of it.
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    if seconds is not None:
        loop.call_later(seconds, stop.set)
    return stop


class _Display:
    """Shows the counts while they grow: drawn again on a terminal, else a line now and then.

    Printing happens in a thread: reading must not wait for whoever reads our output.
    """

    def __init__(self, call: Call, observer: Observer, where: str) -> None:
        self._json = call.args.json
        self._draws = sys.stdout.isatty() and not self._json
        self._observer = observer
        self._where = where
        seconds = call.args.seconds
        self._until = f" of {observed.duration(seconds)}" if seconds is not None else ""
        self._drawn = 0  # lines on the screen
        self._last = ""

    async def run(self, stop: asyncio.Event) -> None:
        """Show until cancelled; nobody to show it to any more sets `stop`."""
        while True:
            await asyncio.sleep(DRAW_S if self._draws else LINE_S)
            text = self._drawing() if self._draws else self._line()
            if text:
                try:
                    await asyncio.to_thread(print, text, end="", flush=True)
                except OSError:
                    stop.set()

    def end(self, why: str) -> None:
        """Print the summary."""
        if self._json:
            say_json({"summary": self._observer.summary(why)})
        else:
            print(self._erased() + observed.summary(self._observer, self._where), flush=True)

    def _line(self) -> str:
        """Return a line if anything changed since the last one."""
        tally = self._observer.tally
        changed = f"{tally.events} {tally.fates}"
        if changed == self._last:
            return ""
        self._last = changed
        if self._json:
            return json.dumps(observed.counts_now(self._observer)) + "\n"
        return observed.line(self._observer) + "\n"

    def _drawing(self) -> str:
        size = shutil.get_terminal_size()
        head = observed.headline(self._observer, self._where, self._until)
        lines = [head, "", *observed.counts(self._observer.tally, size.lines - 6).splitlines()]
        cut = [line[: size.columns - 1] for line in lines]
        text = self._erased() + "\n".join(cut) + "\n"
        self._drawn = len(cut)
        return text

    def _erased(self) -> str:
        return f"\x1b[{self._drawn}F\x1b[J" if self._drawn else ""


def _seconds(text: str) -> float:
    parts = re.findall(r"(\d+)([smhd])", text)
    if not parts or "".join(map("".join, parts)) != text:
        raise argparse.ArgumentTypeError(f"expected a time such as 90s, 15m or 24h, got {text!r}")
    return sum(int(count) * UNITS_S[unit] for count, unit in parts)
