"""The Python end of `bridge bench link`: echoes what it is called with."""

from __future__ import annotations

import sys
from typing import Any

import uvloop

from bridge.link.arguments import parse_arguments
from bridge.link.link import Link
from bridge.link.transports.port import open_port


async def main() -> None:
    arguments = parse_arguments(sys.argv[1:])
    assert arguments is not None
    link = Link(open_port(arguments), packet=arguments.packet)
    link.register({"hello": hello, "echo": echo})
    link.start()
    await link.closed.wait()


def hello(args: list[Any]) -> Any:
    return {"protocol": 1, "worker": "bench", "pid": 0, "accepted": [], "refused": {}}


def echo(args: list[Any]) -> Any:
    return args[0]


if __name__ == "__main__":
    uvloop.run(main())
