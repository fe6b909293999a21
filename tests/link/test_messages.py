"""Messages: golden vectors, round trips, random bytes."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.link.errors import BadMessage, BadValue
from bridge.link.messages import (
    Call,
    Cast,
    Failure,
    Malformed,
    Message,
    Result,
    decode_message,
    encode_message,
)
from bridge.link.terms import Atom
from tests.link.values import atoms, json_values, terms
from tests.link.vectors import vectors

KINDS = {"call": "C", "result": "r", "failure": "e"}


def message_of(vector: dict[str, Any]) -> Message:
    """Build the message a vector describes."""
    said = vector["message"]
    value = Atom(said["atom"]) if "atom" in said else said.get("value")
    match said["type"]:
        case "call":
            return Call(
                int(said["id"]), said["module"], said["function"], said["args"], said["context"]
            )
        case "result":
            return Result(int(said["id"]), value)
        case "failure":
            head = (Atom(said["language"]), Atom(said["class"]))
            return Failure(int(said["id"]), (*head, said["value"], said["stacktrace"]))
        case "cast":
            return Cast(value, Atom(said["to"]))
        case other:
            raise AssertionError(other)


@pytest.mark.parametrize("vector", vectors("link/messages"), ids=lambda vector: vector["name"])
def test_a_vector_is_its_message(vector: dict[str, Any]) -> None:
    message = message_of(vector)
    assert repr(decode_message(bytes.fromhex(vector["hex"]))) == repr(message)
    assert repr(decode_message(encode_message(message))) == repr(message)


@pytest.mark.parametrize("vector", vectors("link/refused"), ids=lambda vector: vector["name"])
def test_a_refused_vector_fails_its_call_or_is_nobodys(vector: dict[str, Any]) -> None:
    frame = bytes.fromhex(vector["hex"])
    if vector["id"] is None:
        with pytest.raises(BadMessage):
            decode_message(frame)
    else:
        message = decode_message(frame)
        assert isinstance(message, Malformed)
        assert (message.id, message.kind) == (int(vector["id"]), KINDS[vector["type"]])


messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(
        Call,
        st.integers(),
        atoms.map(str),
        atoms.map(str),
        st.lists(json_values, max_size=3),
        st.sampled_from(("", "N", "L")),
    ),
    st.builds(Result, st.integers(), json_values | atoms),
    st.builds(Failure, st.none() | st.integers(), terms),
    st.builds(Cast, terms),
)


@given(messages)
def test_messages_come_back_as_they_went(message: Message) -> None:
    assert repr(decode_message(encode_message(message))) == repr(message)


@given(messages, st.data())
def test_damaged_messages_raise_nothing_else(message: Message, data: st.DataObject) -> None:
    frame = bytearray(encode_message(message))
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    with suppress(BadMessage):
        decode_message(bytes(frame))


@given(st.binary(max_size=100))
def test_random_bytes_raise_nothing_else(data: bytes) -> None:
    for frame in (data, b"\x83" + data, b"\x83h\3w\1r" + data, b"\x83h\5w\1C" + data):
        with suppress(BadMessage):
            decode_message(frame)


@given(messages, st.binary(min_size=1, max_size=8))
def test_bytes_after_a_message_are_refused(message: Message, rest: bytes) -> None:
    frame = encode_message(message) + rest
    try:
        found = decode_message(frame)
    except BadMessage:
        return
    assert isinstance(found, Malformed)


def test_tuples_and_atoms_stay_in_the_envelope() -> None:
    for value in (("a",), [Atom("a")], {"a": Atom("b")}):
        with pytest.raises(BadValue):
            encode_message(Result(1, value))
        with pytest.raises(BadValue):
            encode_message(Call(1, "bridge", "f", [value]))
