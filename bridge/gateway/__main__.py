"""`python -m bridge.gateway`: a worker, by itself or as the program of an Erlang port.

Then with the arguments ErlPort gives. Settings come from the environment.
"""

from __future__ import annotations

import logging
import os
import sys

import uvloop

from bridge.access import check_exposure
from bridge.edge.listener import NoListener
from bridge.errors import ContractBroken
from bridge.gateway.worker import Worker
from bridge.link.arguments import BadArgument, parse_arguments
from bridge.redis.server import UnsafeServer
from bridge.settings import BadSetting, parse


def main() -> int:
    """Run a worker until it is told to leave. Exit 2: settings or contracts are wrong."""
    if log := os.environ.get("BRIDGE_WORKER_LOG"):
        _write_to(log)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("websockets").setLevel(logging.CRITICAL)  # telemetry tells of clients
    try:
        settings = parse(os.environ)
        check_exposure(settings)
        port = parse_arguments(sys.argv[1:])
        uvloop.run(Worker(settings, port).run())
    except (BadSetting, BadArgument, ContractBroken, NoListener, UnsafeServer) as error:
        print(f"bridge: {error}", file=sys.stderr)
        return 2
    return 0


def _write_to(log: str) -> None:
    """Have a log of our own: the node's would be its workers' too."""
    opened = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(opened, stream.fileno())
    os.close(opened)


if __name__ == "__main__":
    sys.exit(main())
