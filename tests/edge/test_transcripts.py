"""The exchanges that every edge is held to: contracts/vectors/channels/transcripts.json."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from bridge.contracts.files import CONTRACTS
from tests.edge.phoenix import PhoenixNode, phoenix_node
from tests.edge.rig import Client, Rig, rig, run

FILE = CONTRACTS / "vectors" / "channels" / "transcripts.json"
TRANSCRIPTS: list[dict[str, Any]] = json.loads(FILE.read_text())["transcripts"]


def matches(came: Any, expected: Any) -> bool:
    """Compare values exactly, types too; `*` stands for any value."""
    if expected == "*":
        return True
    if isinstance(expected, dict) and isinstance(came, dict):
        return came.keys() == expected.keys() and all(
            matches(came[name], expected[name]) for name in expected
        )
    if isinstance(expected, list) and isinstance(came, list):
        return len(came) == len(expected) and all(map(matches, came, expected))
    return type(came) is type(expected) and bool(came == expected)


async def expect(client: Client, frames: list[Any]) -> None:
    """Receive as many frames as are expected, in any order."""
    left = list(frames)
    while left:
        came = await client.receive()
        found = next((frame for frame in left if matches(came, frame)), None)
        assert found is not None, f"expected one of {left}, got {came}"
        left.remove(found)


every_transcript = pytest.mark.parametrize(
    "transcript", TRANSCRIPTS, ids=lambda transcript: transcript["name"]
)


async def follow(transcript: dict[str, Any], r: Rig) -> None:
    query, binary = f"vsn={transcript['vsn']}", transcript.get("opcode") == "binary"
    async with r.client(query) as client:
        for step in transcript["steps"]:
            match step:
                case {"send": frame}:
                    text = json.dumps(frame)
                    await client.connection.send(text.encode() if binary else text)
                case {"expect": frame}:
                    await expect(client, [frame])
                case {"expect_unordered": frames}:
                    await expect(client, frames)


@every_transcript
def test_the_python_edge_answers_as_the_transcript_says(transcript: dict[str, Any]) -> None:
    async def main() -> None:
        async with rig() as r:
            await follow(transcript, r)

    run(main())


@pytest.fixture(scope="module")
def node() -> Iterator[PhoenixNode]:
    with phoenix_node() as node:
        yield node


@every_transcript
def test_the_phoenix_edge_answers_as_the_transcript_says(
    transcript: dict[str, Any], node: PhoenixNode
) -> None:
    async def main() -> None:
        async with node.worker() as r:
            await follow(transcript, r)

    run(main())


def test_a_transcript_can_fail() -> None:
    frame = ["1", "2", "counter:a", "phx_reply", {"status": "ok", "response": {"total": 2}}]
    assert matches(frame, ["*", "2", "counter:a", "phx_reply", "*"])
    for other in (
        ["1", 2, *frame[2:]],
        frame[:4],
        [*frame[:4], {"status": "ok"}],
        [None, *frame[1:]],
    ):
        assert not matches(frame, other)
