"""Where the journal is in Redis. No I/O here."""

from __future__ import annotations

NAMESPACE = "joelclaw:bridge:"
SUBSYSTEMS = f"{NAMESPACE}subsystems"
STORAGE = f"{NAMESPACE}storage"


def prefix_of(subsystem: str) -> str:
    """Return what the keys of a subsystem begin with: its hash tag puts them in one slot."""
    return f"{NAMESPACE}{{{subsystem}}}:"
