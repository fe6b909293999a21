"""Implementations in the Elixir node, called over the link."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from bridge.errors import BridgeError, Refusal, RuntimeFault, RuntimeUnavailable
from bridge.link.errors import BadTerm, LinkBusy, LinkClosed, LinkError, LinkTimeout
from bridge.message import Invocation, Outcome, RuntimeName


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

    async def handle(self, invocation: Invocation) -> Outcome:
        link = self._link
        if link is None or not self.available(invocation.subsystem):
            raise RuntimeUnavailable("elixir", f"no node implements {invocation.subsystem} now")
        try:
            answer = await link.call("handle", [_request(invocation)], invocation.timeout_ms)
        except LinkClosed as error:
            raise RuntimeUnavailable("elixir", f"the link closed: {error}") from error
        except LinkBusy as error:
            raise BridgeError(
                "overloaded", f"the queue to the node is full: {error}", queue="link"
            ) from error
        except LinkTimeout as error:
            if link.stalled:
                raise RuntimeUnavailable("elixir", "the node stopped answering") from error
            text = f"no answer within {invocation.timeout_ms} ms"
            raise RuntimeFault("elixir", "timeout", text) from error
        except BadTerm as error:
            raise RuntimeFault("elixir", "not_serialisable", str(error)) from error
        except LinkError as error:
            raise RuntimeFault("elixir", "crashed", str(error)) from error
        return outcome_of("elixir", answer)


# Faults that say the instance is not the one to ask; another may be.
NOT_HERE = frozenset({"unknown_subsystem", "digest_mismatch"})


def outcome_of(runtime: RuntimeName, answer: Any) -> Outcome:
    """Read what a remote runtime answered: `ok`, `refused` or `fault`.

    Raises Refusal, RuntimeUnavailable, BridgeError `overloaded` or RuntimeFault.
    """
    match answer:
        case {"ok": {"reply": reply, **rest}}:
            effects, state = rest.get("effects", []), rest.get("state")
            if isinstance(effects, list):
                return Outcome(reply, effects, state)
        case {"refused": {"reason": str(reason), **rest}}:
            detail = rest.get("detail")
            raise Refusal(
                reason,
                str(rest.get("message") or ""),
                **(_plain(detail) if isinstance(detail, Mapping) else {}),
            )
        case {"fault": {"kind": str(kind), "message": str(message)}}:
            if kind in NOT_HERE:
                raise RuntimeUnavailable(runtime, message)
            if kind == "overloaded":
                raise BridgeError("overloaded", message, queue=f"{runtime} key")
            raise RuntimeFault(runtime, kind, message)
    text = f"expected ok, refused or fault, got {type(answer).__name__}"
    raise RuntimeFault(runtime, "off_contract", text)


def _plain(detail: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(k): v for k, v in detail.items() if k not in ("code", "reason", "message")}


def _request(invocation: Invocation) -> dict[str, Any]:
    return {
        "subsystem": invocation.subsystem,
        "key": invocation.key,
        "operation": invocation.operation,
        "kind": invocation.kind,
        "request": invocation.request,
        "state": invocation.state,
        "context": invocation.context.as_json(),
        "digest": invocation.digest,
        "timeout_ms": invocation.timeout_ms,
    }
