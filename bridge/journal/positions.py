"""Positions in a stream: `<milliseconds>-<number>`, as Redis writes them. No I/O here.

Those of events name the storage before a dot, so that one of another storage is seen.
"""

from __future__ import annotations

import re

from bridge.errors import BridgeError

_POSITION = re.compile(r"(?:[0-9a-z]{1,32}\.)?[0-9]{1,19}-[0-9]{1,19}", re.ASCII)


def is_position(text: str) -> bool:
    """Say whether a text could be a position of any stream."""
    return _POSITION.fullmatch(text) is not None


def order(position: str) -> tuple[int, int]:
    """Return what to compare positions by; raises BridgeError `invalid_request`."""
    if not is_position(position):
        raise BridgeError(
            "invalid_request",
            f"{position!r} is not a position, expected one this journal gave",
            expected="<milliseconds>-<number>",
            actual=position[:64],
        )
    ms, _, n = in_stream(position)[1].partition("-")
    return int(ms), int(n)


def named(storage: str, position: str) -> str:
    """Return a position that names its storage, if that is known."""
    return f"{storage}.{position}" if storage else position


def in_stream(position: str) -> tuple[str, str]:
    """Return the storage a position names, or '', and the position within its stream."""
    storage, _, at = position.rpartition(".")
    return storage, at


def just_before(position: str) -> str:
    """Return the position just before one, of the first itself."""
    ms, n = order(position)
    if (ms, n) == (0, 0):
        return position
    return f"{ms}-{n - 1}" if n else f"{ms - 1}-{2**63 - 1}"


def states_gone(subsystem: str, position: str) -> BridgeError:
    """Build the refusal to say the states of an entry that is not there any more."""
    return BridgeError(
        "invalid_request",
        f"{subsystem} has no entry at {position}, or what its state builds on was trimmed",
        expected="the position of an entry",
        actual=position,
    )


def trim_refused(before: str, exported: str) -> BridgeError:
    """Build the refusal to drop entries that are in no file yet."""
    return BridgeError(
        "invalid_request",
        f"trim before {before}: entries are exported up to {exported} only; "
        "`bridge journal export` first",
        expected=f"a position up to {exported}",
        actual=before,
    )
