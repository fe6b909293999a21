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
from bridge.journal.server import UnsafeServer
from bridge.link.arguments import BadArgument, parse_arguments
from bridge.settings import BadSetting, parse


def main() -> int:
    """Run a worker until it is told to leave. Exit 2: settings or contracts are wrong."""
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


if __name__ == "__main__":
    sys.exit(main())
