"""What carries a link's bytes, whatever is below it."""

from __future__ import annotations

from typing import Protocol


class Receiver(Protocol):
    """Gets what happens on a transport, always from the event loop."""

    def received(self, data: bytes) -> None: ...

    def written(self) -> None:
        """What `write` could not hand over at once has left."""
        ...

    def lost(self, reason: str) -> None:
        """Nothing comes or goes any more. Called once, not after `close`."""
        ...


class Transport(Protocol):
    """A stream of bytes in both directions."""

    def start(self, receiver: Receiver) -> None:
        """Begin to read."""
        ...

    def write(self, data: bytes) -> bool:
        """Hand bytes to the system without waiting.

        True: all have left. False: the transport keeps the rest and calls `written` later; do
        not write before. A peer that does not read holds one such rest, nothing more.
        """
        ...

    def pause(self) -> None:
        """Read nothing more until `resume`."""
        ...

    def resume(self) -> None: ...

    def close(self) -> None:
        """Stop at once; what has not left is dropped. May be called again."""
        ...
