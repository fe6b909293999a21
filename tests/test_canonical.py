from __future__ import annotations

import json
import time
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from bridge.bounds import MAX_SAFE_INTEGER
from bridge.canonical import (
    _decode_strictly,
    canonical,
    decode,
    digest,
    normalise,
    parse,
)
from bridge.errors import BridgeError
from tests.deadline import DEADLINE_S
from tests.vectors import determinism

# Any Unicode text but lone surrogates, astral characters often enough to meet in keys.
texts = st.text(st.characters(codec="utf-8") | st.sampled_from("a~/\x00\ud7ff\ue000\uffff😀"))
keys = texts.filter(lambda key: key != "__proto__")
numbers = st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER) | st.floats(
    -float(MAX_SAFE_INTEGER), float(MAX_SAFE_INTEGER)
)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(keys, inner, max_size=6),
    max_leaves=40,
)


@pytest.mark.parametrize("case", determinism("canonical"), ids=lambda case: case["name"])
def test_the_vectors_canonical_bytes_are_written(case: Any) -> None:
    assert canonical(parse(case["text"])) == case["canonical"].encode()


@pytest.mark.parametrize("case", determinism("refused"), ids=lambda case: case["name"])
def test_the_vectors_refused_texts_are_refused_with_code_and_pointer(case: Any) -> None:
    with pytest.raises(BridgeError) as caught:
        parse(case["text"])
    assert caught.value.code == case["code"]
    if "pointer" in case:
        assert caught.value.detail["pointer"] == case["pointer"]


@given(values)
def test_what_is_written_reads_back_as_the_same_value(value: Any) -> None:
    value = normalise(value)
    assert parse(canonical(value)) == value


def test_a_key_twice_is_found_among_many_at_once() -> None:
    members = ",".join(f'"k{n}":1' for n in range(100_000))
    began = time.monotonic()
    with pytest.raises(BridgeError, match="'k99999' twice"):
        parse(f'{{{members},"k99999":2}}')
    assert time.monotonic() - began < DEADLINE_S


@given(values)
def test_normalising_twice_is_normalising_once(value: Any) -> None:
    once = normalise(value)
    twice = normalise(once)
    assert twice == once
    assert canonical(twice) == canonical(once)


@given(values)
def test_the_fast_writer_agrees_with_rfc_8785(value: Any) -> None:
    value = normalise(value)
    assert canonical(value) == rfc8785.dumps(value)


@given(values)
def test_the_given_value_is_not_changed(value: Any) -> None:
    before = deepcopy(value)
    normalise(value)
    assert repr(value) == repr(before)


@given(st.dictionaries(keys, st.integers(0, 9), max_size=8), st.randoms())
def test_the_order_of_keys_makes_no_difference(value: dict[str, int], random: Any) -> None:
    shuffled = list(value.items())
    random.shuffle(shuffled)
    assert canonical(dict(shuffled)) == canonical(value)


@given(values)
def test_ordinary_json_text_of_a_value_parses_to_it(value: Any) -> None:
    assert parse(json.dumps(value)) == normalise(value)


def test_no_float_without_a_fraction_is_left() -> None:
    normal = normalise({"a": [1.0, -0.0, 2.5]})
    assert [type(number) for number in normal["a"]] == [int, int, float]


def test_bytes_that_are_not_utf_8_are_refused_by_position() -> None:
    with pytest.raises(BridgeError) as caught:
        parse(b'["\xff"]')
    assert caught.value.code == "invalid_text"
    assert caught.value.detail["actual"] == "byte 0xff at 2"


@pytest.mark.parametrize("value", [(1, 2), {1: 2}, b"x", {"a": {3}}, object()])
def test_what_is_not_json_is_refused(value: Any) -> None:
    with pytest.raises(BridgeError) as caught:
        normalise(value)
    assert caught.value.code == "invalid_text"


def test_nesting_of_64_levels_is_taken_and_of_65_is_not() -> None:
    deep: Any = 1
    for _ in range(64):
        deep = [deep]
    assert normalise(deep) == deep
    with pytest.raises(BridgeError) as caught:
        normalise([deep])
    assert caught.value.code == "limit_exceeded"


def test_text_nested_beyond_the_stack_is_refused() -> None:
    with pytest.raises(BridgeError) as caught:
        parse("[" * 200_000)
    assert caught.value.code == "limit_exceeded"


def test_the_digest_is_that_of_the_canonical_bytes() -> None:
    empty_object = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert digest({}) == empty_object


# Texts at and beyond the edges of JSON: compact and spaced, escaped and not, doubled keys.
strange = st.sampled_from(
    [
        "-0",
        "-0.0",
        "1.0",
        "1e2",
        "1E5",
        "1e400",
        "NaN",
        "-Infinity",
        "9007199254740993",
        "18446744073709551616",
        "0.1",
        "1e-7",
        '"\\u0041"',
        '"a\\/b"',
        '"\\ud800"',
        '"\ud800"',
        '"\x7f"',
        '"\u2028"',
        '"\x01"',
        '{"a":1,"a":1}',
        '{"a":1,"\\u0061":2}',
        '{"__proto__":1}',
        "[1,]",
        "\ufeff1",
        "01",
        "[" * 300 + "]" * 300,
        "",
    ]
)
compact = values.map(lambda v: json.dumps(v, ensure_ascii=False, separators=(",", ":")))
json_texts = st.recursive(
    strange | compact | values.map(json.dumps),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]")
        | st.lists(inner, max_size=3).map(lambda items: f'{{"k":[{", ".join(items)}]}}')
    ),
    max_leaves=4,
)


@given(json_texts)
def test_the_fast_reader_agrees_with_the_strict_one(text: str) -> None:
    def read(decoder: Callable[..., Any]) -> Any:
        try:
            return repr(decoder(text, what="text"))
        except BridgeError as error:
            return error.response()

    assert read(decode) == read(_decode_strictly)
