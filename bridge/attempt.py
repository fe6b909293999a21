"""One message, asked of one runtime after the other: whom, and what came of it. No I/O here."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from bridge.errors import BridgeError, Refusal
from bridge.journal.values import Route
from bridge.message import Invocation, Message, Outcome, Reason, RuntimeName
from bridge.moves.assignment import bucket_of

if TYPE_CHECKING:
    from bridge.contracts.registry import Contract, Operation


class Failure(NamedTuple):
    """A runtime that did not answer a message; `called`: it was asked, and not only absent."""

    runtime: RuntimeName
    error: BridgeError
    called: bool


class Attempt(NamedTuple):
    """One computation of one message, held to its contract, not yet committed.

    `refusal` stands in place of an outcome. `failed` are those that were asked before.
    """

    runtime: RuntimeName
    reason: Reason
    outcome: Outcome
    refusal: Refusal | None
    invocation: Invocation
    bucket: int
    took_us: float
    failed: tuple[Failure, ...]


class Hops(NamedTuple):
    """What a message took, in microseconds: until it was read, its commit, and as a whole."""

    read: float
    commit: float
    whole: float


class Watch(Protocol):
    """Sees each message that is answered while a move of its subsystem runs. Must not wait."""

    def answered(
        self, contract: Contract, operation: Operation, route: Route, attempt: Attempt, us: Hops
    ) -> None: ...

    def failed(self, route: Route, bucket: int, failed: tuple[Failure, ...]) -> None:
        """Nobody answered: the client got an error."""
        ...


def bucket_of_message(contract: Contract, message: Message) -> int:
    unit = message.id if contract.assign == "message" else message.key
    return bucket_of(message.subsystem, unit)


def whom_to_ask(
    route: Route, bucket: int, only: RuntimeName | None
) -> list[tuple[RuntimeName, Reason]]:
    """Return whom to ask, in order, each for what reason."""
    if only is not None:
        return [(only, "owner")]
    asked: list[tuple[RuntimeName, Reason]] = [(route.owner, "owner")]
    if route.candidate is not None and bucket < route.share:
        asked = [(route.candidate, "canary"), (route.owner, "fallback")]
    if route.fallback is not None and route.fallback not in (name for name, _ in asked):
        asked.append((route.fallback, "fallback"))
    return asked
