"""Every answer that is not a reply: stable codes, what was expected, what came. No I/O here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

MAX_TEXT = 500

# code -> (retryable, meaning). The codes are on the wire: never rename one, never reuse one.
CODES: dict[str, tuple[bool, str]] = {
    "invalid_frame": (False, "the frame is not a Phoenix Channels message"),
    "unmatched_topic": (False, "the topic is not joined on this socket"),
    "unknown_topic": (False, "no such subsystem, or the topic is not `subsystem:key`"),
    "unknown_operation": (False, "the subsystem has no such operation for clients"),
    "invalid_request": (False, "the payload is off its contract"),
    "invalid_number": (False, "a number that the three languages do not share"),
    "invalid_text": (False, "text that the three languages do not share"),
    "limit_exceeded": (False, "too large, too deep or too many"),
    "unsupported_binary": (
        False,
        "a binary frame for an operation that declares no content type",
    ),
    "unauthorized": (False, "a token is required and was not given, or is wrong"),
    "idempotency_conflict": (False, "the same id or idempotency key came with another payload"),
    "refused": (False, "the implementation refused; `detail.code` is declared in the contract"),
    "state_refused": (
        False,
        "the key's state is of another version of the contract, and cannot be used or migrated",
    ),
    "runtime_fault": (False, "the implementation crashed, looped or answered off its contract"),
    "runtime_unavailable": (True, "the owner is not reachable and no fallback answered"),
    "deadline_exceeded": (True, "not applied: the deadline passed before the commit was sent"),
    "outcome_unknown": (True, "sent, no answer: repeat with the same message id to settle it"),
    "overloaded": (True, "a queue is full; nothing was applied"),
    "storage_unavailable": (
        True,
        "Redis does not answer, or refuses what has to be written; nothing was applied",
    ),
    "draining": (True, "this worker is stopping; nothing was applied"),
    "internal": (True, "a defect of the bridge; it was counted and logged"),
}


def legible(text: str, most: int = 4000) -> str:
    """Return a text of others' as it may travel: Unicode, at most `most` characters."""
    cut = text if len(text) <= most else text[:most] + "…"
    if cut.isascii():
        return cut
    return cut.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class BridgeError(Exception):
    """Carry one of `CODES` with its data; the text is built once, here.

    `detail` is JSON: what was expected, what came, and the way out where there is one.
    """

    def __init__(self, code: str, message: str, /, **detail: Any) -> None:
        if code not in CODES:
            raise ValueError(f"unknown error code {code!r}, expected one of {sorted(CODES)}")
        super().__init__(message)
        self.code = code
        self.message = message
        self.detail = detail

    @property
    def retryable(self) -> bool:
        return CODES[self.code][0]

    def response(self) -> dict[str, Any]:
        """Return the error reply `{code, message, retryable, detail}`."""
        return {
            "code": self.code,
            "message": self.message,
            "retryable": self.retryable,
            "detail": self.detail,
        }


def nearest(got: str, known: Iterable[str]) -> str:
    """Return what was likely meant by a mistyped word, '' if nothing is near it."""
    from difflib import get_close_matches  # only when something is wrong

    return next(iter(get_close_matches(got, list(known), n=1)), "")


def text_of(error: BaseException) -> str:
    """Return an exception's class and text; it may be anybody's, so its text may fail too."""
    try:
        text = legible(str(error), MAX_TEXT)
    except BaseException:  # a `__str__` of somebody else's
        text = "its text cannot be had"
    name = type(error).__name__
    return f"{name}: {text}" if text else name


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule of a contract.

    `pointer` is an RFC 6901 pointer into the checked value, `rule` the JSON Schema keyword,
    `expected` what the rule says, `actual` the JSON type that came (never the value: it may be
    secret).
    """

    contract: str
    pointer: str
    rule: str
    expected: Any
    actual: str

    def __str__(self) -> str:
        return (
            f"{self.contract}: {self.pointer or '(whole value)'} breaks {self.rule}: "
            f"expected {self.expected}, got {self.actual}"
        )

    def as_detail(self) -> dict[str, Any]:
        return {
            "contract": self.contract,
            "pointer": self.pointer,
            "rule": self.rule,
            "expected": self.expected,
            "actual": self.actual,
        }


class InvalidRequest(BridgeError):
    """What a caller sent is off its contract; `way_out` is what to send, if that is known."""

    def __init__(self, violation: Violation, way_out: str = "") -> None:
        known = {"way_out": way_out} if way_out else {}
        text = f"{violation}. {way_out}" if way_out else str(violation)
        super().__init__("invalid_request", text, **violation.as_detail(), **known)


class RuntimeFault(BridgeError):
    """An implementation's fault, whatever the runtime; `kind` is counted in telemetry.

    Kinds: `crashed`, `timeout`, `off_contract`, `not_serialisable`.
    """

    def __init__(self, runtime: str, kind: str, message: str, /, **detail: Any) -> None:
        super().__init__(
            "runtime_fault", f"{runtime}: {message}", runtime=runtime, kind=kind, **detail
        )
        self.runtime = runtime
        self.kind = kind


class RuntimeUnavailable(BridgeError):
    """No instance of the runtime can be reached now; the dispatcher tries the fallback.

    `shared`: not for a reason of its own, something that others need too is away.
    """

    def __init__(self, runtime: str, message: str, *, shared: bool = False) -> None:
        super().__init__("runtime_unavailable", f"{runtime}: {message}", runtime=runtime)
        self.runtime = runtime
        self.shared = shared


class Refusal(BridgeError):
    """A handler's own answer `no`: nothing is committed, the client gets `refused`.

    Raise it in a Python handler; `reason` must be declared in the operation's `errors`.
    """

    def __init__(self, reason: str, message: str = "", /, **detail: Any) -> None:
        super().__init__("refused", message or reason, **{**detail, "code": reason})
        self.reason = reason


class Unable(Exception):
    """What cannot be done; the text is for whoever asked: why, and what to do."""


class ContractBroken(Unable):
    """A contract file that cannot be loaded; stops the start."""

    def __init__(self, file: str, pointer: str, rule: str, message: str) -> None:
        super().__init__(f"{file}: {pointer or '(whole file)'}: {rule}: {message}")
        self.file = file
        self.pointer = pointer
        self.rule = rule
        self.message = message
