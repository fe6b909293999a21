"""The command line ErlPort starts a port program with. No I/O here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class BadArgument(Exception):
    """An argument that ErlPort would not give; the text says what was expected and what came."""


@dataclass(frozen=True, slots=True)
class PortArguments:
    """Where a port's frames come from and go to, and the size of their length in bytes."""

    read_fd: int
    write_fd: int
    packet: int = 4

    @property
    def uses_stdio(self) -> bool:
        return self.write_fd == 1


def parse_arguments(argv: Sequence[str]) -> PortArguments | None:
    """Read the arguments after the program's name; None when no port was asked for.

    ErlPort appends `-u -m erlport.cli --packet=4 --use_stdio --compressed=0
    --buffer_size=65536`; as there, `--use_stdio` is the default. Compression and buffer size
    are ErlPort's own matter: compressed terms are taken in any case, none are sent.
    """
    packet, stdio = None, None
    rest = iter(argv)
    for argument in rest:
        name, _, value = argument.partition("=")
        if argument == "-u":
            continue
        if argument == "-m":
            next(rest, None)
        elif name == "--packet":
            packet = _number(name, value, (1, 2, 4))
        elif argument in ("--use_stdio", "--nouse_stdio"):
            stdio = argument == "--use_stdio"
        elif name == "--compressed":
            _number(name, value, range(10))
        elif name == "--buffer_size":
            _number(name, value, range(1, 2**31))
        else:
            raise BadArgument(f"{argument}: no such argument of a port program")
    if packet is None and stdio is None:
        return None
    read_fd, write_fd = (3, 4) if stdio is False else (0, 1)
    return PortArguments(read_fd, write_fd, packet or 4)


def _number(name: str, text: str, allowed: Sequence[int]) -> int:
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 12 else -1
    if number in allowed:
        return number
    expected = f"{allowed[0]} to {allowed[-1]}" if isinstance(allowed, range) else "1, 2 or 4"
    raise BadArgument(f"{name}: expected {expected}, got {text!r}")
