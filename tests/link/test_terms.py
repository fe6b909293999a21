"""The term format: golden vectors, round trips, limits, random bytes."""

from __future__ import annotations

import math
import time
import tracemalloc
import zlib
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.link.any_terms import AnyTermReader
from bridge.link.errors import BadTerm, BadValue
from bridge.link.term_reader import TermReader, decode
from bridge.link.terms import Atom, Limits, Opaque, encode, put_integer, put_json
from tests.link.values import any_terms, json_values, terms
from tests.link.vectors import decode_json, vectors

ACCEPTED = vectors("etf/accepted")
REFUSED = vectors("etf/refused")


def same(one: Any, other: Any) -> bool:
    """Compare with types and the sign of zero: 1, 1.0 and True differ."""
    return repr(one) == repr(other)


@pytest.mark.parametrize("vector", ACCEPTED, ids=lambda vector: vector["name"])
def test_an_accepted_vector_has_its_value(vector: dict[str, Any]) -> None:
    value = decode_json(bytes.fromhex(vector["hex"]))
    assert same(value, vector["value"])
    assert same(decode_json(encode(value)), value)


@pytest.mark.parametrize("vector", REFUSED, ids=lambda vector: vector["name"])
def test_a_refused_vector_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(BadTerm):
        decode_json(bytes.fromhex(vector["hex"]))


@given(json_values)
def test_json_comes_back_as_it_went(value: Any) -> None:
    assert same(decode_json(encode(value)), value)


@given(terms)
def test_terms_come_back_as_they_went(term: Any) -> None:
    assert same(decode(encode(term)), term)


@given(terms, st.integers(1, 9))
def test_a_compressed_term_reads_like_the_plain_one(term: Any, level: int) -> None:
    plain = encode(term)[1:]
    size = len(plain).to_bytes(4, "big")
    assert same(decode(b"\x83P" + size + zlib.compress(plain, level)), term)


@given(st.integers())
def test_an_integer_of_any_size_is_read_for_an_id(number: int) -> None:
    parts = [b"\x83"]
    put_integer(number, parts)
    reader = TermReader(b"".join(parts))
    assert reader.integer() == number
    reader.finish()


@given(json_values, st.data())
def test_no_part_of_a_term_is_a_term(value: Any, data: st.DataObject) -> None:
    frame = encode(value)
    cut = data.draw(st.integers(0, len(frame) - 1))
    with pytest.raises(BadTerm):
        decode_json(frame[:cut])


@given(st.binary(max_size=200))
def test_random_bytes_are_a_term_or_a_bad_term(data: bytes) -> None:
    for read in (decode, decode_json):
        with suppress(BadTerm):
            read(b"\x83" + data)


@given(terms, st.data())
def test_damaged_terms_are_terms_or_bad_terms(term: Any, data: st.DataObject) -> None:
    frame = bytearray(encode(term))
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    with suppress(BadTerm):
        decode(bytes(frame))


@pytest.mark.parametrize(
    "body",
    [
        b"l\xff\xff\xff\xff",
        b"t\xff\xff\xff\xff",
        b"m\xff\xff\xff\xff",
        b"o\xff\xff\xff\xff\0",
        b"P\xff\xff\xff\xff" + zlib.compress(b"j"),
        b"P\0\x3f\xff\xff" + zlib.compress(b"j"),
    ],
)
def test_no_memory_is_reserved_for_an_announced_size(body: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(BadTerm):
            decode(b"\x83" + body)
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


def test_a_bomb_is_inflated_up_to_its_announced_size_only() -> None:
    bomb = zlib.compress(bytes(50_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(BadTerm, match="1000 bytes after inflating"):
            decode(b"\x83P" + (1000).to_bytes(4, "big") + bomb)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def test_seventy_two_levels_pass_and_one_more_does_not() -> None:
    assert decode_json(encode(nested(72))) == nested(72)
    with pytest.raises(BadTerm, match="at most 72 levels"):
        decode_json(b"\x83" + b"l\0\0\0\1" * 72 + b"j" + b"j" * 72)
    with pytest.raises(BadValue, match="at most 72 levels"):
        encode(nested(73))
    with pytest.raises(BadValue, match="at most 72 levels"):
        encode((nested(72),))


def test_a_value_that_holds_itself_is_too_deep() -> None:
    value: dict[str, Any] = {}
    value["self"] = value
    with pytest.raises(BadValue, match="levels"):
        encode(value)


def test_members_are_counted_over_all_containers() -> None:
    frame = encode([[1, 2], {"a": 3}, [4]])
    assert decode_json(frame, Limits(max_elements=7))
    with pytest.raises(BadTerm, match="fewer members"):
        decode_json(frame, Limits(max_elements=6))


def test_bytes_are_limited_plain_and_inflated() -> None:
    plain = encode("x" * 100)[1:]
    with pytest.raises(BadTerm, match="at most 64 bytes"):
        decode_json(b"\x83" + plain, Limits(max_bytes=64))
    packed = b"\x83P" + len(plain).to_bytes(4, "big") + zlib.compress(plain)
    assert len(packed) < 64
    with pytest.raises(BadTerm, match="at most 64 bytes"):
        decode_json(packed, Limits(max_bytes=64))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2**53, "an integer within ±(2^53-1), got one of 54 bits"),
        (-(2**53), "an integer within ±(2^53-1), got one of 54 bits"),
        (math.nan, "a finite number, got nan"),
        (math.inf, "a finite number, got inf"),
        ("\ud800", "Unicode text, got a lone surrogate"),
        ({"\ud800": 1}, "Unicode text, got a lone surrogate"),
        ({"a": "\ud800"}, "Unicode text, got a lone surrogate"),
        ({1: 1}, "a key that is a string, got int"),
        ({Atom("a"): 1}, "a key that is a string, got Atom"),
        ({"a": Atom("b")}, "a JSON value, got Atom"),
        ({"a": (1,)}, "a JSON value, got tuple"),
        (b"bytes", "a JSON value, got bytes"),
        ({1, 2}, "a JSON value, got set"),
    ],
)
def test_what_a_link_does_not_carry_is_named(value: Any, text: str) -> None:
    with pytest.raises(BadValue) as caught:
        put_json(value, [])
    assert caught.value.message == f"expected {text}"


def test_what_no_term_can_be_is_named() -> None:
    with pytest.raises(BadValue, match="an atom of at most 255 characters, got 256"):
        encode(Atom("x" * 256))
    with pytest.raises(BadValue, match="a JSON value, got set"):
        encode(({1, 2},))


def test_a_float_as_text_is_a_float() -> None:
    text = b"-1.50000000000000000000e+00" + bytes(4)
    assert decode_json(b"\x83c" + text) == -1.5
    with pytest.raises(BadTerm, match="a float as text"):
        decode_json(b"\x83c" + b"1,5".ljust(31, b"\0"))
    with pytest.raises(BadTerm, match="a finite number"):
        decode_json(b"\x83c" + b"1e999".ljust(31, b"\0"))


@given(any_terms)
def test_any_term_comes_back_as_it_was(term: Any) -> None:
    reader = AnyTermReader(encode(term))
    assert same(reader.term(), term)
    reader.finish()


@given(st.binary(max_size=60))
def test_random_bytes_are_any_term_or_a_bad_one(body: bytes) -> None:
    with suppress(BadTerm):
        reader = AnyTermReader(b"\x83" + body)
        reader.json()
        reader.finish()


def test_a_map_key_that_is_a_list_is_named() -> None:
    with pytest.raises(BadTerm, match="map keys that can be hashed"):
        AnyTermReader(b"\x83t\0\0\0\x01jj").json()


def test_what_came_is_named_with_its_tag() -> None:
    with pytest.raises(BadTerm) as caught:
        decode_json(b"\x83h\0")
    assert caught.value.detail == {"expected": "a JSON value", "actual": "a tuple (tag 104)"}


def test_an_atom_is_not_its_text() -> None:
    assert type(decode(encode(Atom("ok")))) is Atom
    assert type(decode(encode("ok"))) is str


def test_a_foreign_term_passes_unchanged() -> None:
    """One of the BEAM's comes in a tuple and goes back as it was, as ErlPort has it."""
    tuple_of = "836803" + "770f" + b"$erlport.opaque".hex() + "7706{}6d00000004" + "58ff0083"
    pid = Opaque(Atom("erlang"), b"X\xff\x00\x83")
    assert decode(bytes.fromhex(tuple_of.format(b"erlang".hex()))) == pid
    assert encode(pid) == b"\x83X\xff\x00\x83"
    other = Opaque(Atom("golang"), pid.data)
    assert encode(other).hex() == tuple_of.format(b"golang".hex())
    assert decode(encode((Atom("hi"), other))) == (Atom("hi"), other)


def test_reading_is_linear_in_the_number_of_terms() -> None:
    small, large = encode(["x" * 100] * 2000), encode(["x" * 100] * 40_000)

    def seconds(frame: bytes) -> float:
        began = time.process_time()
        decode_json(frame, Limits(max_bytes=10_000_000))
        return time.process_time() - began

    fast = min(seconds(small) for _ in range(5))
    slow = min(seconds(large) for _ in range(3))
    assert slow < fast * 20 * 6  # 20 times the terms; quadratic would be 400 times the time
