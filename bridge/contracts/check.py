"""Everything `bridge contracts check` looks at, as rows. Prints nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from bridge.canonical import canonical, escape
from bridge.contracts import generate, released
from bridge.contracts.contract import Contract, migration_of
from bridge.contracts.files import ROOT
from bridge.contracts.registry import Registry
from bridge.contracts.scenarios import (
    FILE_NAME,
    Migration,
    Scenario,
    Step,
    load_scenarios,
    told,
)
from bridge.errors import BridgeError, ContractBroken, Refusal
from bridge.message import JSON, Invocation, Judge, Outcome


class Runs(Protocol):
    """What of a runtime is used here; `bridge.runtimes.runtime.Runtime` has it."""

    def available(self, subsystem: str) -> bool: ...

    async def handle(self, invocation: Invocation, judge: Judge) -> Outcome: ...


@dataclass(frozen=True, slots=True)
class Row:
    """One thing looked at. `problem` is empty when all is well."""

    check: str  # contract, envelopes, scenario, released, generated
    subsystem: str
    what: str
    runtime: str = ""
    problem: str = ""
    file: str = ""  # what the problem is about, if it is a file, and where in it
    pointer: str = ""

    @property
    def ok(self) -> bool:
        return not self.problem


def check_contracts(folders: Sequence[Path]) -> list[Row]:
    """Load each contract and its scenarios by themselves: one row per subsystem."""
    rows = []
    for folder in folders:
        faults: list[ContractBroken] = []
        try:
            registry = Registry.load(folder, left_out=faults)
        except ContractBroken as error:
            rows.append(_broken("", str(folder), error))
            continue
        for fault in faults:
            name = Path(fault.file).parent.name
            rows.append(_broken(name, name, fault))
        for name in registry.names():
            what = f"{name}@{registry.get(name).version}"
            try:
                load_scenarios(registry.file(name).with_name(FILE_NAME), registry.get(name))
                rows.append(Row("contract", name, what))
            except ContractBroken as error:
                rows.append(_broken(name, what, error))
    return rows


def _broken(name: str, what: str, error: ContractBroken) -> Row:
    return Row("contract", name, what, "", str(error), error.file, error.pointer)


async def check_scenarios(
    registry: Registry,
    runtimes: Mapping[str, Runs],
    subsystems: Sequence[str] = (),
    doing: Callable[[str], None] = lambda what: None,
) -> list[Row]:
    """Run every scenario in every runtime that has the subsystem: one row each.

    Replies, effects and states are compared as canonical bytes; a row names the first
    difference. Each step gets the expected state of the step before it, so that one difference
    is one row's, not all the following steps' too. A runtime that has no instance is left out.
    """
    rows = []
    for name in subsystems or registry.names():
        contract = registry.get(name)
        file = registry.file(name).with_name(FILE_NAME)
        scenarios = load_scenarios(file, contract)
        for runtime_name, runtime in runtimes.items():
            if not runtime.available(name):
                continue
            doing(f"running {len(scenarios)} scenarios of {name} in {runtime_name}")
            for scenario in scenarios:
                problem = await run_scenario(contract, scenario, runtime_name, runtime)
                at = (str(file), problem.partition(" ")[0]) if problem else ()
                rows.append(Row("scenario", name, scenario.name, runtime_name, problem, *at))
    return rows


def check_released(folders: Sequence[Path]) -> list[Row]:
    """Hold contracts to their released versions: one row per subsystem that has some."""
    return [
        Row("released", name, name, problem=fault)
        for name, fault in released.changed(folders).items()
    ]


def check_generated() -> list[Row]:
    """Compare the generated files with what the contracts give."""
    if missing := generate.missing():
        return [Row("generated", "", f"left out, {missing}")]
    rows = [
        Row("generated", "", str(path.relative_to(ROOT)), problem="drifted: run `make generate`")
        for path in generate.drifted()
    ] or [Row("generated", "", "python: up to date")]
    fine, text = generate.typescript(check=True)
    return [*rows, Row("generated", "", text, problem="" if fine else text)]


def difference(expected: Any, actual: Any, pointer: str = "") -> str:
    """Name one place where two JSON values differ; empty if they don't."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        # What both have comes first: `status` says more than a member that came or went with it.
        for key in sorted(expected.keys() & actual.keys()):
            if found := difference(expected[key], actual[key], f"{pointer}/{escape(key)}"):
                return found
        for key in sorted(expected.keys() ^ actual.keys()):
            what = "is missing" if key in expected else "should not be there"
            return f"{pointer}/{escape(key)} {what}"
        return ""
    if isinstance(expected, list) and isinstance(actual, list):
        if len(expected) != len(actual):
            return f"{pointer}: expected {len(expected)} items, got {len(actual)}"
        pairs = enumerate(zip(expected, actual, strict=True))
        return next((d for n, (e, a) in pairs if (d := difference(e, a, f"{pointer}/{n}"))), "")
    if canonical(expected) == canonical(actual):
        return ""
    return f"{pointer}: expected {_short(expected)}, got {_short(actual)}"


async def run_scenario(contract: Contract, scenario: Scenario, name: str, runtime: Runs) -> str:
    """Run every step; return the first difference, by its JSON pointers, or ""."""
    if scenario.migration is not None:
        try:
            came = await migrated(contract, scenario.migration, name, runtime)
            problem = difference(scenario.migration.migrated, came, "/state")
        except BridgeError as error:
            problem = f"{error.code}: {error.message}"
        if problem:
            return f"{scenario.migration.pointer} (migrate): {problem}"
    for step in scenario.steps:
        try:
            problem = await _step(contract, scenario.key, step, name, runtime)
        except BridgeError as error:
            problem = f"{error.code}: {error.message}"
        if problem:
            return f"{step.pointer} ({step.operation.name}): {problem}"
    return ""


async def migrated(contract: Contract, given: Migration, name: str, runtime: Runs) -> JSON:
    """Have a runtime migrate a state of an older version, judged. Raises BridgeError."""
    invocation = migration_of(
        contract, given.given, given.version, given.context, contract.timeout_ms
    )
    judge = partial(contract.check_migrated, runtime=name)
    return (await runtime.handle(invocation, judge)).state


async def _step(contract: Contract, key: str, step: Step, name: str, runtime: Runs) -> str:
    try:
        came = await answer(contract, key, step, name, runtime)
    except Refusal as refusal:
        if step.refused is None or step.refused.reason != refusal.reason:
            expected = step.refused.reason if step.refused else "an outcome"
            return f"refused with {refusal.reason}, expected {expected}"
        held = step.refused.as_json()
        return difference(held, {n: value for n, value in told(refusal).items() if n in held})
    if step.refused is not None:
        return f"expected the refusal {step.refused.reason}, got an outcome"
    for part in ("reply", "effects", "state"):
        if found := difference(getattr(step.outcome, part), getattr(came, part), f"/{part}"):
            return found
    return ""


async def answer(contract: Contract, key: str, step: Step, name: str, runtime: Runs) -> Outcome:
    """Have a runtime answer one step, judged. Raises BridgeError, also the handler's Refusal."""
    invocation = Invocation(
        subsystem=contract.name,
        key=key,
        operation=step.operation.name,
        kind=step.operation.kind,
        request=step.request,
        state=step.state,
        context=step.context,
        digest=contract.digest,
        timeout_ms=contract.timeout_ms,
    )
    try:
        return await runtime.handle(invocation, contract.judge(step.operation, name))
    except Refusal as refusal:
        raise step.operation.check_refusal(refusal, name) from None


def _short(value: Any) -> str:
    text = canonical(value).decode()
    return text if len(text) <= 80 else text[:79] + "…"
