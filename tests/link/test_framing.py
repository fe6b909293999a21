"""Frames: golden streams, any chunking, sizes announced and sizes allowed."""

from __future__ import annotations

import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.link.errors import BadFrame, BadValue
from bridge.link.framing import FrameReader, FrameWriter
from tests.link.vectors import vectors


def read(reader: FrameReader, chunks: list[bytes]) -> tuple[list[bytes], bool]:
    """Return all frames and whether the stream was refused."""
    frames: list[bytes] = []
    try:
        for chunk in chunks:
            reader.feed(chunk)
            while taken := reader.take():
                frames += taken
    except BadFrame:
        return frames, True
    return frames, False


@pytest.mark.parametrize("vector", vectors("link/frames"), ids=lambda vector: vector["name"])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_a_stream_has_its_frames_however_it_is_cut(vector: dict[str, Any], size: int) -> None:
    stream = bytes.fromhex(vector["hex"])
    reader = FrameReader(vector["max_frame_bytes"], vector["packet"])
    chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
    expected = [bytes.fromhex(frame) for frame in vector["frames"]]
    assert read(reader, chunks) == (expected, vector["error"])


@given(st.lists(st.binary(max_size=300), max_size=20), st.sampled_from((2, 4)), st.data())
def test_what_was_framed_comes_back_in_any_chunks(
    bodies: list[bytes], packet: int, data: st.DataObject
) -> None:
    writer = FrameWriter(300, packet)
    stream = b"".join(writer.frame(body) for body in bodies)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    reader = FrameReader(300, packet)
    assert read(reader, chunks) == (bodies, False)
    assert reader.buffered_bytes == 0


@given(st.lists(st.binary(max_size=30), max_size=20), st.integers(1, 5), st.binary(max_size=3))
def test_frames_are_taken_a_few_at_a_time(bodies: list[bytes], most: int, rest: bytes) -> None:
    reader, writer = FrameReader(300), FrameWriter(300)
    reader.feed(b"".join(map(writer.frame, bodies)) + rest)
    taken: list[bytes] = []
    while reader.ready:
        some = reader.take(most)
        assert 1 <= len(some) <= most
        taken += some
    assert (taken, reader.take(), reader.buffered_bytes) == (bodies, [], len(rest))


def test_a_frame_that_is_too_large_is_ready_to_be_refused() -> None:
    reader = FrameReader(8)
    reader.feed(b"\0\0\0\x01a\0\0\0\x09b")
    assert reader.take(1) == [b"a"]
    assert reader.ready
    with pytest.raises(BadFrame):
        reader.take(1)


@given(st.lists(st.binary(max_size=50), max_size=10))
def test_random_bytes_are_frames_or_a_bad_frame(chunks: list[bytes]) -> None:
    reader = FrameReader(100)
    read(reader, chunks)
    assert reader.buffered_bytes <= 104 + 50


@pytest.mark.parametrize("packet", [1, 2, 4])
def test_the_largest_frame_passes_in_both_directions(packet: int) -> None:
    body = bytes(min(70_000, 256**packet - 1))
    frame = FrameWriter(70_000, packet).frame(body)
    assert read(FrameReader(70_000, packet), [frame]) == ([body], False)


def test_a_frame_that_is_too_large_is_not_sent() -> None:
    with pytest.raises(BadValue, match="a frame of at most 9 bytes, got 10"):
        FrameWriter(9).frame(bytes(10))
    with pytest.raises(BadValue, match="a frame of at most 255 bytes, got 256"):
        FrameWriter(1000, 1).frame(bytes(256))


def test_the_error_names_what_was_announced_and_the_limit() -> None:
    reader = FrameReader(8)
    reader.feed(b"\0\0\0\x09b")
    with pytest.raises(BadFrame, match="at most 8 bytes, got 9 announced"):
        reader.take()


def test_nothing_is_reserved_for_an_announced_frame() -> None:
    reader = FrameReader(2**32)
    tracemalloc.start()
    try:
        reader.feed(b"\xff\xff\xff\xff" + bytes(10))
        assert reader.take() == []
        assert tracemalloc.get_traced_memory()[1] < 10_000
    finally:
        tracemalloc.stop()


def test_reading_is_linear_in_the_number_of_chunks() -> None:
    def seconds(size: int) -> float:
        stream = size.to_bytes(4, "big") + bytes(size)
        reader = FrameReader(2**32)
        began = time.process_time()
        for at in range(0, len(stream), 100):
            reader.feed(stream[at : at + 100])
            reader.take()
        return time.process_time() - began

    fast = min(seconds(400_000) for _ in range(3))
    slow = min(seconds(8_000_000) for _ in range(2))
    assert slow < fast * 20 * 6  # 20 times the bytes; quadratic would be 400 times the time
