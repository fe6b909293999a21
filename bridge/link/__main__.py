"""A port program of your own: `python -m bridge.link --register MODULE[:NAME,NAME…] …`.

What is registered the BEAM may call by module and function, as with ErlPort: `{python,
"/path/python -m bridge.link --register sums"}` starts it, the arguments that ErlPort appends are
taken. Coroutine functions run together, plain ones in threads; `close` of the port ends it.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import sys
from collections.abc import Callable
from typing import Any

from bridge.link.arguments import BadArgument, parse_arguments
from bridge.link.link import Function, Link
from bridge.link.messages import ANY
from bridge.link.transports.port import open_port


def registered(text: str) -> dict[str, Function]:
    """Import what `MODULE[:NAME,…]` names: of a module alone its public functions.

    Raises BadArgument, naming what is not there.
    """
    name, _, names = text.partition(":")
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise BadArgument(f"--register {text}: {error}") from None
    wanted = names.split(",") if names else _public(module)
    found = {each: getattr(module, each, None) for each in wanted}
    for each, function in found.items():
        if not callable(function):
            raise BadArgument(f"--register {text}: {name} has no function {each!r}")
    return {f"{name}:{each}": _of_list(function) for each, function in found.items() if function}


def _public(module: Any) -> list[str]:
    own = [
        name
        for name, each in vars(module).items()
        if inspect.isfunction(each) and each.__module__ == module.__name__ and name[0] != "_"
    ]
    return list(getattr(module, "__all__", own))


def _of_list(function: Callable[..., Any]) -> Function:
    """Return a function that takes its arguments as the list they come in."""
    if inspect.iscoroutinefunction(function):

        async def wait(args: list[Any]) -> Any:
            return await function(*args)

        return wait
    return lambda args: function(*args)


async def serve(functions: dict[str, Function], arguments: list[str]) -> None:
    """Answer calls until the port is closed. Raises BadArgument."""
    port = parse_arguments(arguments)
    if port is None:
        raise BadArgument("started by hand: expected the arguments of a port, as --packet=4")
    link = Link(open_port(port), packet=port.packet, terms=ANY)
    link.register(functions, threads=True)
    link.start()
    await link.closed.wait()


def main(argv: list[str]) -> int:
    functions: dict[str, Function] = {}
    rest = []
    asked = iter(argv)
    sys.path.insert(0, os.getcwd())
    try:
        for argument in asked:
            if argument == "--register":
                functions |= registered(next(asked, ""))
            else:
                rest.append(argument)
        if not functions:
            raise BadArgument("nothing to serve: expected --register MODULE[:NAME,…]")
        asyncio.run(serve(functions, rest))
    except BadArgument as error:
        print(f"bridge.link: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
