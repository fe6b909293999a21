"""Where the journal is in Redis. No I/O here."""

from __future__ import annotations

NAMESPACE = "joelclaw:bridge:"
SUBSYSTEMS = f"{NAMESPACE}subsystems"
STORAGE = f"{NAMESPACE}storage"
WORKERS = f"{NAMESPACE}{{workers}}:"  # what these keys begin with


def target_of(kind: str) -> str:
    """Return where it is kept that effects of a kind cannot be sent now."""
    return f"{NAMESPACE}{{target:{kind}}}"


def prefix_of(subsystem: str) -> str:
    """Return what the keys of a subsystem begin with: its hash tag puts them in one slot."""
    return f"{NAMESPACE}{{{subsystem}}}:"
