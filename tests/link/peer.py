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

    async def many(args: list[Any]) -> Any:
        """Call `echo` of the peer from args[0] callers, args[1] times each; return seconds."""
        callers, times, value = args

        async def caller() -> None:
            for _ in range(times):
                assert await link.call("echo", [value], 5000) == value

        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(caller() for _ in range(callers)))
        return asyncio.get_running_loop().time() - began

    link.register(
        {"echo": echo, "fail": fail, "stray": stray, "slow": slow, "back": back, "many": many}
    )
    link.start()
    await link.closed.wait()
    print(link.close_reason, file=sys.stderr)


if __name__ == "__main__":
    uvloop.run(main())
