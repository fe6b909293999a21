"""Implementations in Elixir nodes, called over their links."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from bridge.errors import BridgeError, RuntimeFault, RuntimeUnavailable
from bridge.link.errors import BadTerm, LinkBusy, LinkClosed, LinkError, LinkTimeout
from bridge.message import Invocation, Judge, Outcome, RuntimeName
from bridge.runtimes.remote import outcome_of, request_of
from bridge.runtimes.runtime import unjudged

# The node kills a handler at its timeout and says so. Only if not even that comes in time is
# the node, or the way to it, at fault.
GRACE_MS = 500


class Link(Protocol):
    """The link to a node, as this runtime uses it."""

    async def call(self, function: str, args: list[Any], timeout_ms: int) -> Any: ...

    @property
    def stalled(self) -> bool: ...


class _Node(NamedTuple):
    link: Link
    name: str
    serves: frozenset[str]
    started_ms: int
    builds: Mapping[str, str]
    performs: frozenset[str]  # the subsystems whose activities it has


class ElixirRuntime:
    """Speaks to every node that said hello: for each subsystem to the newest that serves it.

    Which is newer is told by the nodes' own clocks. An older node stands by with its link as it
    is, and is asked again as soon as the newer one is gone or stalled.
    """

    name: RuntimeName = "elixir"

    def __init__(self) -> None:
        self._nodes: list[_Node] = []  # the newest first

    def attach(
        self,
        link: Link,
        serves: frozenset[str],
        *,
        name: str = "",
        started_ms: int = 0,
        builds: Mapping[str, str] | None = None,
        performs: frozenset[str] = frozenset(),
    ) -> None:
        """Take in a node that said hello; of two that started at once, the one attached last."""
        self.detach(link)
        self._nodes.insert(0, _Node(link, name, serves, started_ms, builds or {}, performs))
        self._nodes.sort(key=lambda node: node.started_ms, reverse=True)

    def rebuilt(self, link: Link, builds: Mapping[str, str]) -> None:
        """Take in which builds a node has now."""
        self._nodes = [n._replace(builds=builds) if n.link is link else n for n in self._nodes]

    def detach(self, link: Link) -> None:
        self._nodes = [node for node in self._nodes if node.link is not link]

    def nodes(self) -> list[dict[str, Any]]:
        """Return each node with what it is asked for now and what it stands by for."""
        taken: set[str] = set()
        described: list[dict[str, Any]] = []
        for node in self._nodes:
            serves = set() if node.link.stalled else node.serves - taken
            taken |= serves
            described.append(
                {
                    "node": node.name,
                    "stalled": node.link.stalled,
                    "serves": sorted(serves),
                    "stands_by": sorted(node.serves - serves),
                    "builds": dict(node.builds),
                }
            )
        return described

    def performs(self, subsystem: str) -> Link | None:
        """Return the link to the newest node that has the subsystem's activities."""
        there = (n for n in self._nodes if subsystem in n.performs and not n.link.stalled)
        return next((node.link for node in there), None)

    def available(self, subsystem: str) -> bool:
        return bool(self._serving(subsystem))

    async def handle(self, invocation: Invocation, judge: Judge = unjudged) -> Outcome:
        call = {**request_of(invocation), "timeout_ms": invocation.timeout_ms}
        deadline = time.monotonic() + (invocation.timeout_ms + GRACE_MS) / 1000
        why = f"no node implements {invocation.subsystem} now"
        for node in self._serving(invocation.subsystem):
            wait_ms = max(math.ceil((deadline - time.monotonic()) * 1000), 1)
            try:
                answer = await node.link.call("handle", [call], wait_ms)
            except LinkClosed as error:  # it is gone: handlers are functions, so ask the next
                why = f"the link closed: {error}"
                continue
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
            # A node tells by each answer: its code changes while it runs.
            said = answer.get("build") if isinstance(answer, Mapping) else None
            build = str(said)[:64] if said else ""
            return judge(outcome_of("elixir", answer, build))
        raise RuntimeUnavailable("elixir", why)

    def _serving(self, subsystem: str) -> list[_Node]:
        return [n for n in self._nodes if subsystem in n.serves and not n.link.stalled]
