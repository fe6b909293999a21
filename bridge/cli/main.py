"""`bridge COMMAND`: exit code 0 done, 1 could not, 2 asked wrongly."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from bridge import __version__
from bridge.cli import (
    contracts,
    deliveries,
    doctor,
    joelclaw,
    journal,
    messages,
    new,
    observe,
    pending,
    quarantine,
    reload,
    replay,
    routes,
    running,
    status,
    storage,
)
from bridge.cli.command import Call, CommandFailed, UsageError, say_error
from bridge.client import NotReached
from bridge.errors import BridgeError, ContractBroken
from bridge.settings import BadSetting, parse
from bridge.up.place import NotRunning, StartFailed


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command and return its exit code."""
    args = parser().parse_args(arguments)
    try:
        return int(args.run(Call(args, parse(os.environ))))
    except (BadSetting, UsageError) as error:
        say_error(str(error))
        return 2
    except BridgeError as error:
        say_error(f"{error.code}: {error.message}")
        return 1
    except (CommandFailed, ContractBroken, NotReached, NotRunning, StartFailed) as error:
        say_error(str(error))
        return 1
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python would complain while it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; the reference is written from it."""
    whole = argparse.ArgumentParser(
        prog="bridge",
        description="A gateway that moves live subsystems between Python, TypeScript and Elixir.",
        epilog="Settings come from the environment: `bridge settings` lists them.",
    )
    whole.add_argument("--version", action="version", version=__version__)
    commands = whole.add_subparsers(metavar="COMMAND", required=True)
    modules = (
        running,
        status,
        messages,
        routes,
        contracts,
        new,
        journal,
        pending,
        deliveries,
        observe,
        replay,
        joelclaw,
        quarantine,
        reload,
        storage,
        doctor,
    )
    for module in modules:
        module.add(commands)
    return whole
