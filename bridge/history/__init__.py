"""Compare what clients recorded with journal, state and executed effects."""

from bridge.history.evidence import Evidence, Finding
from bridge.history.records import BadRecord
from bridge.history.verify import check, collect, verify

__all__ = ["BadRecord", "Evidence", "Finding", "check", "collect", "verify"]
