"""Implementations in the Elixir node, called over the link."""

from __future__ import annotations

from typing import Any, Protocol

from bridge.errors import BridgeError, RuntimeFault, RuntimeUnavailable
from bridge.link.errors import BadTerm, LinkBusy, LinkClosed, LinkError, LinkTimeout
from bridge.message import Invocation, Judge, Outcome, RuntimeName
from bridge.runtimes.remote import outcome_of, request_of
from bridge.runtimes.runtime import unjudged

# The node kills a handler at its timeout and says so. Only if not even that comes in time is
# the node, or the way to it, at fault.
GRACE_MS = 500


class Node(Protocol):
    """The link to the node, as this runtime uses it."""

    async def call(self, function: str, args: list[Any], timeout_ms: int) -> Any: ...

    @property
    def stalled(self) -> bool: ...


class ElixirRuntime:
    """Speaks to one node at a time: `attach` the link of a node that said hello.

    A newer node takes the place of an older one; which is newer is the caller's to decide.
    """

    name: RuntimeName = "elixir"

    def __init__(self) -> None:
        self._link: Node | None = None
        self._accepted: frozenset[str] = frozenset()

    def attach(self, link: Node, accepted: frozenset[str]) -> None:
        self._link, self._accepted = link, accepted

    def detach(self, link: Node) -> None:
        if self._link is link:
            self._link, self._accepted = None, frozenset()

    def available(self, subsystem: str) -> bool:
        return self._link is not None and subsystem in self._accepted and not self._link.stalled

    async def handle(self, invocation: Invocation, judge: Judge = unjudged) -> Outcome:
        link = self._link
        if link is None or not self.available(invocation.subsystem):
            raise RuntimeUnavailable("elixir", f"no node implements {invocation.subsystem} now")
        call = {**request_of(invocation), "timeout_ms": invocation.timeout_ms}
        wait_ms = invocation.timeout_ms + GRACE_MS
        try:
            answer = await link.call("handle", [call], wait_ms)
        except LinkClosed as error:
            raise RuntimeUnavailable("elixir", f"the link closed: {error}") from error
        except LinkBusy as error:
            raise BridgeError(
                "overloaded", f"the queue to the node is full: {error}", queue="link"
            ) from error
        except LinkTimeout as error:
            raise RuntimeUnavailable("elixir", f"no answer within {wait_ms} ms") from error
        except BadTerm as error:
            raise RuntimeFault("elixir", "not_serialisable", str(error)) from error
        except LinkError as error:
            raise RuntimeFault("elixir", "crashed", str(error)) from error
        return judge(outcome_of("elixir", answer))
