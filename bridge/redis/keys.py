"""Where things are in Redis; docs/architecture.md says what each holds. No I/O here."""

from __future__ import annotations

NAMESPACE = "joelclaw:bridge:"
SUBSYSTEMS = f"{NAMESPACE}subsystems"
STORAGE = f"{NAMESPACE}storage"
WORKERS = f"{NAMESPACE}{{workers}}:"  # what these keys begin with
SCRATCH = f"{NAMESPACE}{{probe}}:"  # likewise; gone after each try


def target_of(kind: str) -> str:
    """Return where it is kept that effects of a kind cannot be sent now."""
    return f"{NAMESPACE}{{target:{kind}}}"


def prefix_of(subsystem: str) -> str:
    """Return what the keys of a subsystem begin with: its hash tag puts them in one slot."""
    return f"{NAMESPACE}{{{subsystem}}}:"


def presence_of(subsystem: str) -> str:
    """Return the leases of the TypeScript services that serve a subsystem."""
    return f"{prefix_of(subsystem)}runtime:typescript"


# Sorted set: subsystems by when a TypeScript service began to serve them.
SERVED = f"{NAMESPACE}{{services}}:served"


def requests_of(subsystem: str) -> str:
    return f"{prefix_of(subsystem)}requests:typescript"


def activities_of(subsystem: str, activity: str) -> str:
    """Return the stream of what services are asked to do for an activity."""
    return f"{prefix_of(subsystem)}activities:{activity}"


def contract_of(subsystem: str) -> str:
    """Return where the digest of the gateway's contract is."""
    return f"{prefix_of(subsystem)}contract"


def replies_to(worker: str) -> str:
    return f"{NAMESPACE}replies:{worker}"
