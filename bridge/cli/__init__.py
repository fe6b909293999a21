"""The command line: `bridge` and `python -m bridge`."""

from bridge.cli.main import main

__all__ = ["main"]
