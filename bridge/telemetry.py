"""What happened, counted; logging is attached here and nowhere else."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

Listener = Callable[[str, dict[str, str]], None]


class Telemetry:
    """Count named events with labels and hand them to listeners. Inner code emits, never logs."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()
        self._listeners: list[Listener] = []

    def emit(self, name: str, *, times: int = 1, **labels: str) -> None:
        """Count an event. `text` is passed on to listeners but is no label of the count."""
        counted = tuple(sorted((k, v) for k, v in labels.items() if k != "text"))
        self._counts[name, counted] += times
        for listener in self._listeners:
            listener(name, labels)

    def attach(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def counts(self) -> dict[str, int]:
        """Return the counts so far, named `event{label=value,…}`."""
        return {
            name + ("{" + ",".join(f"{k}={v}" for k, v in labels) + "}" if labels else ""): count
            for (name, labels), count in sorted(self._counts.items())
        }


# Events that happen too often to be worth a line each.
QUIET = frozenset(
    {
        "call_done",
        "call_gone",
        "call_waits",
        "committed",
        "delivered",
        "delivery_waits",
        "duplicate",
        "effect_done",
        "effect_waits",
        "ingress",
        "stale",
        "terminal_error",
    }
)


def log_to(logger: logging.Logger) -> Listener:
    """Return a listener that writes one line per event, but for the quiet ones.

    What is no printable character, in what a client or a producer sent, cannot begin another.
    """

    def write(name: str, labels: dict[str, str]) -> None:
        if name not in QUIET:
            text = " ".join(f"{k}={v}" for k, v in labels.items())
            printable = (c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
            logger.info("%s %s", name, "".join(printable))

    return write
