"""`python -m bridge.link`: a port program of somebody's own functions."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.link.errors import LinkFault
from bridge.link.link import Link
from bridge.link.messages import ANY
from bridge.link.terms import Atom, Opaque
from bridge.link.transports.descriptors import Descriptors
from tests.deadline import DEADLINE_S
from tests.link.port import APPENDED, ROOT, SIZES

HOUR = 3_600_000
PROGRAM = [sys.executable, "-m", "bridge.link", "--register", "tests.link.sums"]


def start() -> tuple[subprocess.Popen[bytes], Link]:
    child_reads, we_write = os.pipe()
    we_read, child_writes = os.pipe()
    argv = [*PROGRAM, *APPENDED, "--use_stdio", *SIZES]
    process = subprocess.Popen(argv, cwd=ROOT, stdin=child_reads, stdout=child_writes)
    os.close(child_reads)
    os.close(child_writes)
    link = Link(Descriptors(we_read, we_write), terms=ANY)
    link.start()
    return process, link


def test_its_functions_are_called_with_any_terms_and_hold_up_nothing() -> None:
    async def main() -> None:
        process, link = start()

        async def call(function: str, *args: object) -> object:
            return await link.call(function, list(args), HOUR, module="tests.link.sums")

        blocked = asyncio.create_task(call("block", 0.5))
        assert await call("add", 2**70, 1) == 2**70 + 1
        pid = Opaque(Atom("python"), b"\x83g")
        term = (Atom("ok"), b"\xff", {1: [(), pid]}, "text", -1.5)
        assert await call("same", term) == term
        assert not blocked.done()
        assert await blocked == "woke"
        with pytest.raises(LinkFault, match="ValueError: no"):
            await call("fail")
        with pytest.raises(LinkFault, match=r"tests\.link\.sums:_private is not registered"):
            await call("_private")
        with pytest.raises(LinkFault, match="TypeError"):
            await call("add", 1)
        link.close("the test ends")
        assert process.wait(DEADLINE_S) == 0

    asyncio.run(main())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to serve: expected --register MODULE[:NAME,…]"),
        (["--register", "no.such"], "--register no.such: No module named 'no'"),
        (["--register", "math:cos,cosine"], "math has no function 'cosine'"),
        (["--register", "math:cos"], "started by hand: expected the arguments of a port"),
        (["--register", "math:cos", "--packet=3"], "--packet: expected 1, 2 or 4, got '3'"),
    ],
)
def test_what_is_wrong_with_its_arguments_is_said(arguments: list[str], said: str) -> None:
    argv = [sys.executable, "-m", "bridge.link", *arguments]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert said in done.stderr


def test_it_needs_nothing_but_the_standard_library() -> None:
    """`-S` leaves every installed package out."""
    modules = sorted(
        f"bridge.link.{path.relative_to(ROOT / 'bridge/link').with_suffix('')}".replace("/", ".")
        for path in Path(ROOT, "bridge/link").rglob("*.py")
        if path.stem not in ("__init__", "__main__")
    )
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {', '.join(modules)}"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True
    )
    assert done.stderr == ""
