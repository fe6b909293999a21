"""`bridge bench`: figures, each against a peer in the same run."""

from bridge.bench.main import main

__all__ = ["main"]
