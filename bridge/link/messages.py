"""The messages of a link, as ErlPort 0.11 writes them, to terms and back. No I/O here.

A call's arguments and a result are JSON, and a result may be an atom (`pong`, `ok`); with `ANY`
both are any terms. The dataclasses are not frozen, as that would make each five times as dear,
but nobody changes one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from bridge.link.any_terms import AnyTermReader
from bridge.link.errors import BadMessage, BadTerm
from bridge.link.framing import Oversized
from bridge.link.term_reader import TermReader
from bridge.link.terms import (
    DEFAULT_LIMITS,
    Atom,
    Limits,
    Opaque,
    atom_bytes,
    put_integer,
    put_json,
    put_term,
)

MODULE: Final = "bridge"  # of what is called without naming another


@dataclass(slots=True)
class Call:
    """`{'C', Id, Module, Function, Args}`, towards the BEAM with a context after it.

    The context is `N` (a process of its own) or `L` (in the server).
    """

    id: int
    module: str
    function: str
    args: list[Any]
    context: str = ""

    @property
    def name(self) -> str:
        """Return what it is registered as: of the module `bridge` by its function alone."""
        return self.function if self.module == MODULE else f"{self.module}:{self.function}"


@dataclass(slots=True)
class Cast:
    """`{'M', Message}`; towards the BEAM `{'M', To, Message}`, to a pid or a registered name."""

    message: Any
    to: Atom | Opaque | None = None


@dataclass(slots=True)
class Result:
    """`{'r', Id, Result}`."""

    id: int
    value: Any


@dataclass(slots=True)
class Failure:
    """`{'e', Id, Error}`; without an id (`{'e', Error}`) a cast's handler failed at the peer."""

    id: int | None
    error: Any


@dataclass(slots=True)
class Malformed:
    """A message whose id was read before what it says turned out to be no term for a link."""

    id: int
    kind: str
    error: BadTerm


@dataclass(slots=True)
class Printed:
    """`{'P', Data}`: what ErlPort's Python half wrote to its standard output."""

    text: Any


Message = Call | Cast | Result | Failure


@dataclass(frozen=True, slots=True)
class Terms:
    """How arguments and results are read and written."""

    reader: Callable[[bytes, Limits], TermReader]
    put: Callable[[Any, list[bytes]], None]


JSON_ONLY = Terms(TermReader, put_json)
ANY = Terms(AnyTermReader, put_term)


def decode_message(
    frame: bytes, limits: Limits = DEFAULT_LIMITS, terms: Terms = JSON_ONLY
) -> Message | Malformed | Printed:
    """Read one frame's message. Raises BadMessage when nobody can be told what is wrong."""
    try:
        reader = terms.reader(frame, limits)
        size = reader.tuple_size()
        kind = reader.atom()
        read = _WITH_ID.get((kind, size))
        if read is None:
            return _without_id(kind, size, reader)
        id = reader.integer()
    except BadTerm as error:
        raise BadMessage(error.detail["expected"], error.detail["actual"]) from None
    try:
        if type(frame) is Oversized:
            raise BadTerm(f"a frame of at most {limits.max_bytes} bytes", f"{frame.announced}")
        message = read(id, reader)
        reader.finish()
    except BadTerm as error:
        return Malformed(id, kind, error)
    return message


def _without_id(kind: str, size: int, reader: TermReader) -> Message | Printed:
    if (kind, size) not in (("M", 2), ("M", 3), ("e", 2), ("P", 2)):
        raise BadMessage("a message of a link", f"a tuple of {size} that begins {kind[:32]!r}")
    to = reader.term() if size == 3 else None
    if type(to) not in (Atom, Opaque, type(None)):
        raise BadMessage("a pid or a name to send to", type(to).__name__)
    term = reader.term()
    reader.finish()
    match kind:
        case "M":
            return Cast(term, to)
        case "P":
            return Printed(term)
    return Failure(None, term)


def _result(id: int, reader: TermReader) -> Result:
    return Result(id, reader.result())


def _failure(id: int, reader: TermReader) -> Failure:
    return Failure(id, reader.term())


def _call(id: int, reader: TermReader) -> Call:
    module = reader.atom()
    function = reader.atom()
    args = reader.json()
    if type(args) is not list:
        raise BadTerm("a list of arguments", type(args).__name__)
    return Call(id, module, function, args)


def _call_in_context(id: int, reader: TermReader) -> Call:
    call = _call(id, reader)
    return replace(call, context=reader.atom())


_WITH_ID: dict[tuple[str, int], Callable[[int, TermReader], Message]] = {
    ("C", 5): _call,
    ("C", 6): _call_in_context,
    ("r", 3): _result,
    ("e", 3): _failure,
}

_CALL, _CALL_IN_CONTEXT = b"\x83h\5w\1C", b"\x83h\6w\1C"
_RESULT, _FAILURE = b"\x83h\3w\1r", b"\x83h\3w\1e"
_CAST, _LOST_FAILURE = b"\x83h\2w\1M", b"\x83h\2w\1e"
_CAST_TO = b"\x83h\3w\1M"


def encode_message(message: Message, terms: Terms = JSON_ONLY) -> bytes:
    """Return the frame's bytes. Raises BadValue for what a link does not carry."""
    if isinstance(message, Call):
        parts = [_CALL_IN_CONTEXT if message.context else _CALL]
        put_integer(message.id, parts)
        parts += (atom_bytes(message.module), atom_bytes(message.function))
        terms.put(message.args, parts)
        if message.context:
            parts.append(atom_bytes(message.context))
    elif isinstance(message, Result):
        parts = [_RESULT]
        put_integer(message.id, parts)
        if type(message.value) is Atom:
            parts.append(atom_bytes(message.value))
        else:
            terms.put(message.value, parts)
    elif isinstance(message, Cast):
        parts = [_CAST] if message.to is None else [_CAST_TO]
        if message.to is not None:
            put_term(message.to, parts)
        put_term(message.message, parts)
    elif message.id is None:
        parts = [_LOST_FAILURE]
        put_term(message.error, parts)
    else:
        parts = [_FAILURE]
        put_integer(message.id, parts)
        put_term(message.error, parts)
    return b"".join(parts)
