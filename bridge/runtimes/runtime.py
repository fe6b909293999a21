"""What the dispatcher asks of a runtime, whatever is behind it."""

from __future__ import annotations

from typing import Protocol

from bridge.message import Invocation, Judge, Outcome, RuntimeName


def unjudged(outcome: Outcome) -> Outcome:
    """Take an outcome as it is."""
    return outcome


class Runtime(Protocol):
    """Runs implementations. Handlers are functions, so a call may be repeated or thrown away."""

    name: RuntimeName

    def available(self, subsystem: str) -> bool:
        """Say whether an instance with this contract's digest can be reached now. No I/O."""
        ...

    async def handle(self, invocation: Invocation, judge: Judge = unjudged) -> Outcome:
        """Return the handler's outcome as `judge` returns it.

        What runs in this process is judged within the handler's own budget. Raises what `judge`
        raises, Refusal (the handler's own no), RuntimeFault (crash, loop, an answer that is not
        an outcome), RuntimeUnavailable (not reachable, or gone before it answered), BridgeError
        `overloaded` (the bounded queue towards it is full) or `deadline_exceeded`.
        """
        ...
