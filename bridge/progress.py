"""What is being done, said while it is done; and colour, where somebody sees it."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Self, TextIO

DRAW_S = 0.1
SOON_S = 0.2  # until the first line, where lines stay
PAUSE_S = 0.9  # between two; it grows with the time that all takes
CLEAR = "\r\x1b[K"
COLOURS = {"ok": 32, "warn": 33, "fail": 31}
SIGNS = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


def is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def painted(text: str, colour: str = "", stream: TextIO | None = None) -> str:
    """Colour a text that is `ok`, `warn` or `fail`, or as that one, for a terminal.

    https://no-color.org: not if NO_COLOR is set.
    """
    code = COLOURS.get(colour or text)
    if code is None or os.environ.get("NO_COLOR") or not is_terminal(stream or sys.stdout):
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


class Progress:
    """Show what is done now: `progress("this")`, and `progress("")` once there is nothing.

    On a terminal one line that changes; elsewhere a line only when nothing was said for a while.
    It shows from `with` to its end, also while the caller's own thread is busy.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = is_terminal(self._stream)
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._show, daemon=True)
        self._ended = False
        self._doing = ""
        self._first = self._begun = time.monotonic()
        self._said = self._first + SOON_S - PAUSE_S
        self._drawn = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self("")
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join()

    def __call__(self, doing: str) -> None:
        with self._changed:
            self._clear()
            self._doing, self._begun = doing, time.monotonic()
            self._changed.notify()

    def say(self, text: str) -> None:
        """Print what stays to standard output."""
        with self._changed:
            self._clear()
            print(text, flush=True)
            self._said = time.monotonic()

    def _show(self) -> None:
        with self._changed:
            while not self._ended:
                if self._doing:
                    self._draw(time.monotonic())
                self._changed.wait(DRAW_S if self._doing else None)

    def _draw(self, now: float) -> None:
        taken = f"{self._doing}, {now - self._begun:.0f} s"
        if self._live:
            self._drawn += 1
            width = os.get_terminal_size(self._stream.fileno()).columns or 80
            line = f"{SIGNS[self._drawn % len(SIGNS)]} {taken}"[: width - 1]
            self._write(CLEAR + line)
        elif now - self._said >= max(PAUSE_S, (now - self._first) / 10):
            self._said = now
            self._write(f"bridge: {taken}\n")

    def _clear(self) -> None:
        if self._live and self._drawn:
            self._drawn = 0
            self._write(CLEAR)

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # nobody reads it: what is done goes on
            self._live = False
