"""A worker started as an Erlang port, on both pairs of descriptors."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bridge.link.arguments import PortArguments
from bridge.link.transports.port import open_port
from tests.link.port import output, program

HOUR = 3_600_000
STRAY = "from print\nfrom a C extension\nfrom a child\n"


@pytest.mark.parametrize("use_stdio", [True, False])
def test_calls_go_both_ways(use_stdio: bool) -> None:
    async def main() -> None:
        async with program(use_stdio) as started:
            link = started.link

            async def twice(args: list[Any]) -> Any:
                return args[0] * 2

            link.register({"twice": twice})
            assert await link.call("echo", [{"text": "ü✓", "none": None}], HOUR) == {
                "text": "ü✓",
                "none": None,
            }
            assert await link.call("back", ["twice", [21]], HOUR) == 42
            assert await output(started) == (0, "", "end of file\n")

    asyncio.run(main())


@pytest.mark.parametrize("use_stdio", [True, False])
def test_a_large_value_passes_both_pipes(use_stdio: bool) -> None:
    async def main() -> None:
        async with program(use_stdio) as started:
            value = "x" * 3_000_000
            assert await started.link.call("echo", [value], HOUR) == value

    asyncio.run(main())


def test_printed_text_goes_to_standard_error_when_standard_output_is_the_peers() -> None:
    async def main() -> None:
        async with program(use_stdio=True) as started:
            assert await started.link.call("stray", [], HOUR) == "unharmed"
            assert await output(started) == (0, "", STRAY + "end of file\n")

    asyncio.run(main())


def test_printed_text_goes_to_standard_output_when_that_is_nobodys() -> None:
    async def main() -> None:
        async with program(use_stdio=False) as started:
            assert await started.link.call("stray", [], HOUR) == "unharmed"
            assert await output(started) == (0, STRAY, "end of file\n")

    asyncio.run(main())


def test_a_port_without_its_descriptors_is_an_error() -> None:
    async def main() -> None:
        with pytest.raises(OSError, match="Bad file descriptor"):
            open_port(PortArguments(1_000_003, 1_000_004))

    asyncio.run(main())
