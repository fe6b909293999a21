"""The Channels codecs: golden vectors, round trips, and nothing but UnreadableFrame for junk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.canonical import canonical
from bridge.channels.frames import CODECS, V2, Frame, UnreadableFrame, codec_for
from bridge.errors import CODES, BridgeError

VECTORS = json.loads(
    (Path(__file__).parents[2] / "contracts/vectors/channels/frames.json").read_text()
)

names = st.text(st.characters(codec="utf-8"), max_size=100).filter(lambda t: "\x00" not in t)
short = st.text(st.characters(codec="utf-8"), max_size=60)
refs = st.none() | names | st.integers(-(2**53) + 1, 2**53 - 1)
leaves = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | names
keys = names.filter(lambda t: t != "__proto__")
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4)
)


def codec(vsn: str) -> Any:
    return CODECS[vsn[0]]


def unreadable(vector: dict[str, Any]) -> UnreadableFrame | None:
    """Decode a vector; return the refusal, if it was refused."""
    piece, times = vector.get("then_repeat", ["", 0])
    try:
        if "hex" in vector:
            codec(vector["vsn"]).decode_binary(bytes.fromhex(vector["hex"]))
        else:
            codec(vector["vsn"]).decode_text(vector["text"] + piece * times)
    except UnreadableFrame as refused:
        return refused
    return None


def check_answerable(vsn: str, refused: UnreadableFrame | None) -> None:
    if refused is not None:
        assert refused.error.code in CODES
        response = {"status": "error", "response": refused.error.response()}
        frame = Frame(refused.join_ref, refused.ref, refused.topic, "phx_reply", response)
        json.loads(CODECS[vsn].encode(frame))


@pytest.mark.parametrize("vector", VECTORS["text"], ids=lambda v: v["name"])
def test_a_text_vector_is_read(vector: dict[str, Any]) -> None:
    assert codec(vector["vsn"]).decode_text(vector["text"]) == Frame(**vector["frame"])


@pytest.mark.parametrize(
    "vector",
    [v for v in VECTORS["text"] if "join_ref" not in v["text"]],
    ids=lambda v: v["name"],
)
def test_a_text_vector_is_written_with_the_same_value(vector: dict[str, Any]) -> None:
    written = codec(vector["vsn"]).encode(Frame(**vector["frame"]))
    assert json.loads(written) == json.loads(vector["text"])


@pytest.mark.parametrize("vector", VECTORS["unreadable"], ids=lambda v: v["name"])
def test_an_unreadable_vector_is_refused_with_its_head(vector: dict[str, Any]) -> None:
    error = unreadable(vector)
    assert error is not None
    assert error.error.code == vector["code"]
    assert (error.join_ref, error.ref, error.topic) == (
        vector["join_ref"],
        vector["ref"],
        vector["topic"],
    )


# What a server may send is there for phoenix.js's own serializer; the gateway sends none.
@pytest.mark.parametrize(
    "vector",
    [v for v in VECTORS["binary"] if v["kind"] == "client_push"],
    ids=lambda v: v["name"],
)
def test_a_binary_vector_is_read(vector: dict[str, Any]) -> None:
    payload = bytes.fromhex(vector["payload_hex"])
    head = Frame(vector["join_ref"], vector["ref"], vector["topic"], vector["event"], payload)
    assert V2().decode_binary(bytes.fromhex(vector["hex"])) == head


@given(st.sampled_from("12"), refs, refs, names, names, values)
def test_what_is_written_is_read_back(
    vsn: str, join_ref: Any, ref: Any, topic: str, event: str, payload: Any
) -> None:
    # Version 1.0.0 sends no join_ref.
    frame = Frame(join_ref if vsn == "2" else None, ref, topic, event, payload)
    back = CODECS[vsn].decode_text(CODECS[vsn].encode(frame).decode())
    assert canonical(list(back)) == canonical(list(frame))


@given(short, short, short, short, st.binary(max_size=2000))
def test_a_binary_push_is_read_back(
    join_ref: str, ref: str, topic: str, event: str, payload: bytes
) -> None:
    parts = [text.encode() for text in (join_ref, ref, topic, event)]
    data = bytes([0, *map(len, parts)]) + b"".join(parts) + payload
    assert V2().decode_binary(data) == Frame(join_ref or None, ref or None, topic, event, payload)


@given(st.sampled_from("12"), st.text() | values.map(json.dumps))
def test_any_text_is_a_frame_or_unreadable(vsn: str, text: str) -> None:
    check_answerable(vsn, unreadable({"vsn": vsn, "text": text}))


@given(st.binary(max_size=300))
def test_any_bytes_are_a_push_or_unreadable(data: bytes) -> None:
    check_answerable("2", unreadable({"vsn": "2", "hex": data.hex()}))


@given(st.data())
def test_a_damaged_frame_is_a_frame_or_unreadable(data: st.DataObject) -> None:
    text = '["1","22","counter:ä","add",{"n":[1,{"a":null}]}]'
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    damaged = text[:start] + data.draw(st.text(max_size=3)) + text[end:]
    check_answerable("2", unreadable({"vsn": "2", "text": damaged}))


def test_an_error_in_the_payload_points_into_the_payload() -> None:
    with pytest.raises(UnreadableFrame) as refused:
        CODECS["2"].decode_text('["1","2","counter:a","add",{"a":[0,1e400]}]')
    assert refused.value.error.detail["pointer"] == "/a/1"


@pytest.mark.parametrize(
    ("vsn", "version"),
    [
        ("1.0.0", "1.0.0"),
        ("1.0.12", "1.0.0"),
        ("2.0.0", "2.0.0"),
        ("2.0.7", "2.0.0"),
        ("2.0.0+build.1-x", "2.0.0"),
        ("2.0.1-rc.1", "2.0.0"),
        ("2.0.1-0a.b-c", "2.0.0"),
    ],
)
def test_a_vsn_is_matched_as_phoenix_matches_it(vsn: str, version: str) -> None:
    assert codec_for(vsn).version == version


@pytest.mark.parametrize(
    "vsn",
    [
        "",
        "1",
        "2",
        "2.0",
        "2.banana",
        "2.0.0.0",
        "2.1.0",
        "2.9.9",
        "1.1.0",
        "3.0.0",
        "20.0.0",
        "2.0.0-rc",
        "2.0.1-01",
        "2.0.1-",
        "2.0.0+",
        "02.0.0",
        "2.0.01",
        " 2.0.0",
        "2.0.0\n",
        "v2.0.0",
        "2,0,0",
        "٢.0.0",
        "-2.0.0",
        "2.0.02.0.0",
    ],
)
def test_another_vsn_is_refused(vsn: str) -> None:
    with pytest.raises(BridgeError) as refused:
        codec_for(vsn)
    assert refused.value.code == "invalid_frame"
    assert refused.value.detail["expected"] == ["1.0.0", "2.0.0"]


def test_version_1_reads_json_whatever_the_opcode() -> None:
    text = '{"topic":"counter:a","event":"add","payload":{"\u00e9":1},"ref":1}'
    v1 = CODECS["1"]
    assert v1.decode_binary(text.encode()) == v1.decode_text(text)
    with pytest.raises(UnreadableFrame) as refused:
        v1.decode_binary(b"\xff")
    assert refused.value.error.code == "invalid_text"


@pytest.mark.parametrize(
    "number", ["9" * 5000, "-" + "9" * 5000, "9007199254740992", "1" + "0" * 30]
)
@pytest.mark.parametrize("vsn", ["1", "2"])
def test_a_number_beyond_all_measure_is_an_invalid_number_answered_by_its_ref(
    vsn: str, number: str
) -> None:
    text = {
        "1": f'{{"topic":"counter:a","event":"add","payload":{{"n":{number}}},"ref":"4"}}',
        "2": f'["1","4","counter:a","add",{{"n":{number}}}]',
    }[vsn]
    with pytest.raises(UnreadableFrame) as refused:
        CODECS[vsn].decode_text(text)
    assert refused.value.error.code == "invalid_number"
    assert (refused.value.ref, refused.value.topic) == ("4", "counter:a")
    assert refused.value.addressed
    assert "digit limit" not in refused.value.error.message
