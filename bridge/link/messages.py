"""The messages of a link, as ErlPort 0.11 writes them, to terms and back. No I/O here.

A call's arguments and a result are JSON; a result may also be an atom (`pong`, `ok`). The
dataclasses are not frozen, as that would make each five times as dear, but nobody changes one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from bridge.link.errors import BadMessage, BadTerm
from bridge.link.term_reader import TermReader
from bridge.link.terms import (
    DEFAULT_LIMITS,
    Atom,
    Limits,
    atom_bytes,
    put_integer,
    put_json,
    put_term,
)


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


@dataclass(slots=True)
class Cast:
    """`{'M', Message}`."""

    message: Any


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


Message = Call | Cast | Result | Failure


def decode_message(frame: bytes, limits: Limits = DEFAULT_LIMITS) -> Message | Malformed:
    """Read one frame's message. Raises BadMessage when nobody can be told what is wrong."""
    try:
        reader = TermReader(frame, limits)
        size = reader.tuple_size()
        kind = reader.atom()
        read = _WITH_ID.get((kind, size))
        if read is None:
            return _without_id(kind, size, reader)
        id = reader.integer()
    except BadTerm as error:
        raise BadMessage(error.detail["expected"], error.detail["actual"]) from None
    try:
        message = read(id, reader)
        reader.finish()
    except BadTerm as error:
        return Malformed(id, kind, error)
    return message


def _without_id(kind: str, size: int, reader: TermReader) -> Message:
    if (kind, size) not in (("M", 2), ("e", 2)):
        raise BadMessage("a message of a link", f"a tuple of {size} that begins {kind[:32]!r}")
    term = reader.term()
    reader.finish()
    return Cast(term) if kind == "M" else Failure(None, term)


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


def encode_message(message: Message) -> bytes:
    """Return the frame's bytes. Raises BadValue for what a link does not carry."""
    if isinstance(message, Call):
        parts = [_CALL_IN_CONTEXT if message.context else _CALL]
        put_integer(message.id, parts)
        parts += (atom_bytes(message.module), atom_bytes(message.function))
        put_json(message.args, parts)
        if message.context:
            parts.append(atom_bytes(message.context))
    elif isinstance(message, Result):
        parts = [_RESULT]
        put_integer(message.id, parts)
        if type(message.value) is Atom:
            parts.append(atom_bytes(message.value))
        else:
            put_json(message.value, parts)
    elif isinstance(message, Cast):
        parts = [_CAST]
        put_term(message.message, parts)
    elif message.id is None:
        parts = [_LOST_FAILURE]
        put_term(message.error, parts)
    else:
        parts = [_FAILURE]
        put_integer(message.id, parts)
        put_term(message.error, parts)
    return b"".join(parts)
