"""`bridge bench`: figures, each against a peer in the same run."""

from bridge.bench.run import main

__all__ = ["main"]
