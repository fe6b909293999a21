"""`bridge COMMAND`: exit code 0 done, 1 could not, 2 asked wrongly.

A command's module is imported when that command is asked for: most need little of the bridge.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from bridge import __version__

if TYPE_CHECKING:
    import argparse

# The module of each command, in the order of `bridge --help`.
MODULES = {
    "running": ("up", "settings", "bench"),
    "status": ("status",),
    "messages": ("call", "listen"),
    "routes": ("routes", "route"),
    "moves": ("move",),
    "diff": ("diff",),
    "cutover": ("can-i-cutover",),
    "scorecard": ("scorecard",),
    "explain": ("explain",),
    "contracts": ("contracts",),
    "new": ("new",),
    "journal": ("journal",),
    "pending": ("outbox", "timers", "dead"),
    "deliveries": ("deliveries",),
    "observe": ("observe",),
    "replay": ("replay",),
    "joelclaw": ("joelclaw",),
    "quarantine": ("quarantine",),
    "reload": ("reload",),
    "storage": ("storage",),
    "doctor": ("doctor",),
    "completion": ("completion",),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command and return its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if list(arguments) == ["--version"]:
        print(__version__)
        return 0
    args = parser(*_asked_for(arguments)).parse_args(arguments)
    from bridge.cli.command import Call, UsageError, say_error
    from bridge.errors import BridgeError, Unable
    from bridge.settings import BadSetting, parse

    try:
        return int(args.run(Call(args, parse(os.environ))))
    except (BadSetting, UsageError) as error:
        say_error(str(error))
        return 2
    except BridgeError as error:
        say_error(f"{error.code}: {error.message}")
        return 1
    except Unable as error:
        say_error(str(error))
        return 1
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python would complain while it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def parser(*modules: str) -> argparse.ArgumentParser:
    """Return the parser of some modules' commands, or of the whole command line.

    The reference is written from it.
    """
    import argparse

    whole = argparse.ArgumentParser(
        prog="bridge",
        description="A gateway that moves live subsystems between Python, TypeScript and Elixir.",
        epilog="Settings come from the environment: `bridge settings` lists them.",
    )
    whole.add_argument("--version", action="version", version=__version__)
    commands = whole.add_subparsers(metavar="COMMAND", required=True)
    for module in modules or MODULES:
        import_module(f"bridge.cli.{module}").add(commands)
    return whole


def _asked_for(arguments: Sequence[str]) -> list[str]:
    """Return the module of the command that is asked for; none if that is no command."""
    return [name for name, commands in MODULES.items() if arguments and arguments[0] in commands]
