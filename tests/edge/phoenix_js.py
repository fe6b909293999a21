"""The real phoenix.js in Node: scripts of tests/edge/node, started, and their verdict."""

from __future__ import annotations

import asyncio
import json
import shutil
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from tests.deadline import DEADLINE_S

FOLDER = Path(__file__).parent / "node"

has_phoenix_js = pytest.mark.skipif(
    shutil.which("node") is None or not (FOLDER / "node_modules").is_dir(),
    reason="needs Node and `npm ci` in tests/edge/node; `make test` does both where it can",
)
versions = pytest.mark.parametrize("version", ["1.8", "1.7"])


async def node(script: str, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        "node", str(FOLDER / script), *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )


async def passes(process: asyncio.subprocess.Process) -> None:
    """Wait for its end, which is not that of its input: then it would end by itself."""
    assert process.stdout is not None
    assert process.stderr is not None
    out, err = await asyncio.gather(process.stdout.read(), process.stderr.read())
    await process.wait()
    said = (out + err).decode()
    assert process.returncode == 0, f"exit code {process.returncode}: {said}"


class Pushing:
    """A client that pushes until `kept` is asked: then nothing of it failed or was lost."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, port: int | str, version: str, *arguments: str) -> Pushing:
        process = await node("drain.mjs", str(port), version, *arguments)
        assert process.stdout is not None
        assert json.loads(await process.stdout.readline()) == {"pushing": True}
        return cls(process)

    async def joined(self, times: int) -> None:
        """Wait until it has joined so many times."""
        assert self._process.stdout is not None
        async with asyncio.timeout(2 * DEADLINE_S):
            while json.loads(await self._process.stdout.readline()) != {"joins": times}:
                pass

    async def kept(self, *, joins: int) -> None:
        """Stop it; each push was answered, and each event came once and in order."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"stop\n")
        async with asyncio.timeout(2 * DEADLINE_S):
            result = {}
            while "pushes" not in result:
                result = json.loads(await self._process.stdout.readline())
        assert result["failed"] == []
        assert result["joins"] == joins, result
        assert result["out_of_order"] == []
        assert result["events"] == result["pushes"]
        await passes(self._process)
