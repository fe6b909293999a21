"""A state of another version of its contract, before anything else is done with its key."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from bridge.contracts.contract import Contract, migration_of
from bridge.errors import BridgeError, Refusal, RuntimeFault, RuntimeUnavailable, Violation
from bridge.journal.values import Snapshot
from bridge.message import Context, Outcome, RuntimeName

if TYPE_CHECKING:
    from bridge.runtimes.runtime import Runtime

# What the journal calls a commit that did nothing but this; no operation can be called so.
MIGRATED = ":migrate"


Fate = Literal["holds", "migrates", "breaks"]


class Why(NamedTuple):
    """Why a state cannot be used."""

    text: str
    violation: Violation | None = None

    def __str__(self) -> str:
        return self.text


def verdict_of(
    contract: Contract, snapshot: Snapshot, *, thorough: bool = False
) -> tuple[Fate, Why]:
    """Tell what becomes of a state when its key is used next, and why where it cannot be.

    One of an older version that none is migrated from is used as it is, if it holds; one of this
    version does, unless the contract was changed in place: that is looked at if `thorough`.
    """
    written = snapshot.contract
    if written == 0 or (written == contract.version and not thorough):
        return "holds", Why("")
    if written > contract.version:
        text = f"a newer version wrote it, {written}: this is {contract.version}"
        return "breaks", Why(text)
    if contract.migrates_from <= written < contract.version:
        return "migrates", Why("")
    violation = contract.state_violation(snapshot.state)
    if violation is None:
        return "holds", Why("")
    if written == contract.version:
        return "breaks", Why(f"{violation}, though this version wrote it", violation)
    return "breaks", Why(f"no migration takes version {written}, and {violation}", violation)


def must_migrate(contract: Contract, snapshot: Snapshot, key: str) -> bool:
    """Tell whether a state is to be migrated before it is used.

    Raises BridgeError `state_refused` for one that cannot be used.
    """
    if snapshot.contract in (0, contract.version):
        return False
    fate, why = verdict_of(contract, snapshot)
    if fate == "breaks":
        detail = why.violation.as_detail() if why.violation else {}
        raise refused(contract, snapshot, key, why.text, **detail)
    return fate == "migrates"


def refused(
    of: Contract, snapshot: Snapshot, key: str, why: str, /, **detail: Any
) -> BridgeError:
    return BridgeError(
        "state_refused",
        f"{of.name}:{key}: its state cannot be used: {why}. It is kept as it is",
        subsystem=of.name,
        version=of.version,
        state_version=snapshot.contract,
        **detail,
    )


async def migrate(
    contract: Contract,
    snapshot: Snapshot,
    context: Context,
    runtimes: Mapping[RuntimeName, Runtime],
    deadline: float,
) -> tuple[RuntimeName, Outcome]:
    """Return the state as this version has it, by the owner's `migrate`, else the fallback's.

    Raises BridgeError `state_refused` if it fails or what it gives does not hold, and
    RuntimeUnavailable or `overloaded` where asking again may help.
    """
    owner, fallback = snapshot.route.owner, snapshot.route.fallback
    unavailable: RuntimeUnavailable | None = None
    for name in dict.fromkeys([owner, *([fallback] if fallback else [])]):
        runtime = runtimes.get(name)
        if runtime is None or not runtime.available(contract.name):
            text = f"no instance that implements {contract.name} can be reached"
            unavailable = unavailable or RuntimeUnavailable(name, text)
            continue
        left_ms = max(1, int((deadline - time.monotonic()) * 1000))
        invocation = migration_of(contract, snapshot.state, snapshot.contract, context, left_ms)
        try:
            judge = partial(contract.check_migrated, runtime=name)
            outcome = await runtime.handle(invocation, judge)
        except RuntimeUnavailable as error:
            unavailable = error
            continue
        except (RuntimeFault, Refusal) as fault:
            text = f"version {snapshot.contract} cannot be migrated: {fault.message}"
            raise refused(contract, snapshot, context.key, text, **fault.detail) from None
        return name, outcome
    raise unavailable or RuntimeUnavailable(owner, "no runtime")
