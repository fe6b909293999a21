"""What can go wrong on a link: stable codes, what was expected, what came. No I/O here."""

from __future__ import annotations

import reprlib
from typing import Any, ClassVar

from bridge.errors import MAX_TEXT


class LinkError(Exception):
    """Carry a stable `code`, whether repeating may help, and the data behind the text."""

    code: ClassVar[str]
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, **detail: Any) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail


class Mismatch(LinkError):
    """Something else came than what was expected; the base of the four errors below."""

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(f"expected {expected}, got {actual}", expected=expected, actual=actual)


class BadFrame(Mismatch):
    """The peer's stream is beyond repair: close the link."""

    code = "bad_frame"


class BadMessage(Mismatch):
    """The peer's frame is no message, so that no call can be told of it: close the link."""

    code = "bad_message"


class BadTerm(Mismatch):
    """The peer sent a term that is not taken here; only the call it belongs to fails."""

    code = "bad_term"


class BadValue(Mismatch):
    """Our own side tried to send what a link does not carry."""

    code = "bad_value"


class LinkClosed(LinkError):
    """No peer: the link is closed, or the peer has not said hello yet."""

    code = "link_closed"
    retryable = True


class LinkTimeout(LinkError):
    """The peer did not answer in time; a late answer is dropped and counted."""

    code = "link_timeout"
    retryable = True

    def __init__(self, function: str, timeout_ms: int) -> None:
        super().__init__(
            f"{function}: no answer within {timeout_ms} ms",
            function=function,
            timeout_ms=timeout_ms,
        )


class LinkBusy(LinkError):
    """Too many unanswered calls or unsent bytes; nothing was sent."""

    code = "link_busy"
    retryable = True

    def __init__(self, what: str, count: int, limit: int) -> None:
        super().__init__(
            f"{count} {what} on the link, limit is {limit}", what=what, count=count, limit=limit
        )


class LinkFault(LinkError):
    """The peer's function failed: `{Language, Class, Value, Stacktrace}`, or any other term."""

    code = "link_fault"

    def __init__(self, term: Any) -> None:
        self.term = term
        self.language: Any = ""
        self.kind: Any = ""
        self.value = term
        self.stacktrace: Any = []
        if type(term) is tuple and len(term) == 4:
            self.language, self.kind, self.value, self.stacktrace = term
        super().__init__(
            f"{shown(self.language) or 'peer'} {shown(self.kind) or 'error'}: {shown(self.value)}"
        )


class _Short(reprlib.Repr):
    """Terms as text, cut short. `repr` itself fails at an integer of more than 4,300 digits."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = MAX_TEXT

    def repr_int(self, x: int, level: int) -> str:
        return repr(x) if x.bit_length() <= 256 else f"(an integer of {x.bit_length()} bits)"


_short = _Short().repr


def shown(term: Any) -> str:
    """Return any decoded term as text of at most `MAX_TEXT` characters."""
    return (term if isinstance(term, str) else _short(term))[:MAX_TEXT]
