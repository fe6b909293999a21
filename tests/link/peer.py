"""A port program for tests: `python -m tests.link.peer` and the arguments ErlPort appends."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Any

import uvloop

from bridge.link.arguments import parse_arguments
from bridge.link.link import Link
from bridge.link.transports.port import open_port


def echo(args: list[Any]) -> Any:
    return args[0]


async def fail(args: list[Any]) -> Any:
    raise ValueError(args[0])


async def stray(args: list[Any]) -> Any:
    """Write to standard output in every way there is."""
    print("from print", flush=True)
    os.write(1, b"from a C extension\n")
    child = [sys.executable, "-c", "print('from a child')"]
    await asyncio.to_thread(subprocess.run, child, check=True)
    return "unharmed"


async def slow(args: list[Any]) -> Any:
    await asyncio.sleep(args[0] / 1000)
    return "slept"


async def main() -> None:
    arguments = parse_arguments(sys.argv[1:])
    if arguments is None:
        raise SystemExit("expected the arguments of a port program")
    link = Link(open_port(arguments), packet=arguments.packet)

    async def back(args: list[Any]) -> Any:
        return await link.call(args[0], args[1], 5000)

    link.register(
        {
            "echo": echo,
            "fail": fail,
            "stray": stray,
            "slow": slow,
            "back": back,
        }
    )
    link.start()
    await link.closed.wait()
    print(link.close_reason, file=sys.stderr)


if __name__ == "__main__":
    uvloop.run(main())
