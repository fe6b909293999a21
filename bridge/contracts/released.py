"""Released versions never change: contracts/released.json pins their digests."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from bridge.contracts.files import BUILT_IN, CONTRACTS, read_json
from bridge.contracts.registry import Registry

LOCK = CONTRACTS / "released.json"


def changed(registry: Registry, lock: Path = LOCK) -> dict[str, str]:
    """Return, by subsystem, what is wrong with its version; contracts not pinned are fine."""
    faults: dict[str, str] = {}
    for name, versions in read_json(lock).items():
        if name not in registry.names():
            faults[name] = f"released up to version {max(map(int, versions))}, now gone"
            continue
        contract = registry.get(name)
        newest = max(map(int, versions))
        if contract.version < newest:
            faults[name] = f"version {contract.version} is older than the released {newest}"
        elif versions.get(str(contract.version), contract.digest) != contract.digest:
            faults[name] = (
                f"version {contract.version} is released and has changed: "
                f"make it version {newest + 1}"
            )
    return faults


def release(registry: Registry, lock: Path = LOCK) -> list[str]:
    """Pin the versions that are not pinned yet; return them as `name@version`.

    Never changes what is pinned. Raises ValueError while `changed` finds anything.
    """
    faults = changed(registry, lock)
    if faults:
        raise ValueError("; ".join(f"{name}: {text}" for name, text in faults.items()))
    pinned = read_json(lock)
    added = []
    for name in registry.names():
        contract = registry.get(name)
        versions = pinned.setdefault(name, {})
        if str(contract.version) not in versions:
            versions[str(contract.version)] = contract.digest
            added.append(f"{name}@{contract.version}")
    lock.write_text(json.dumps(pinned, indent=2, sort_keys=True) + "\n")
    return added


def main(arguments: list[str] | None = None) -> int:
    """Say what changed since its release; with --release, pin the versions there are now."""
    parser = argparse.ArgumentParser(prog="python -m bridge.contracts.released")
    parser.add_argument("--release", action="store_true", help="pin what is not pinned yet")
    releasing = parser.parse_args(arguments).release
    registry = Registry.load(BUILT_IN)
    if faults := changed(registry):
        for name, text in faults.items():
            print(f"{name}: {text}")
        return 1
    if releasing:
        for label in release(registry):
            print(f"released {label}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
