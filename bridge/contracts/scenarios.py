"""Scenarios: sequences of messages with what every implementation must answer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bridge.contracts.contract import Contract, Operation
from bridge.contracts.files import read_json
from bridge.contracts.generated.scenarios import (
    ExpectedOutcome,
    ExpectedRefusal,
    ExpectedReply,
    ScenariosFile,
)
from bridge.contracts.generated.scenarios import Scenario as WrittenScenario
from bridge.contracts.generated.scenarios import Step as WrittenStep
from bridge.contracts.loading import require_shape
from bridge.errors import BridgeError, ContractBroken, Refusal, RuntimeFault
from bridge.message import JSON, Context, Outcome, context_for

FILE_NAME = "scenarios.json"
ZONE = "UTC"


@dataclass(frozen=True, slots=True)
class Refused:
    """The refusal a step must meet; what is None is not compared."""

    reason: str
    message: str | None
    detail: JSON

    def as_json(self) -> dict[str, JSON]:
        """Return it as it is written in a scenario."""
        told = {"refused": self.reason, "message": self.message, "detail": self.detail}
        return {name: value for name, value in told.items() if value is not None}


class Step(NamedTuple):
    """One message, with the state it must meet and what must come of it.

    `outcome` or `refused` is set, where anything is expected. `state` is what the steps before
    it led to.
    """

    pointer: str  # of the step in its file
    operation: Operation
    request: JSON
    context: Context
    state: JSON
    outcome: Outcome | None
    refused: Refused | None
    written: Mapping[str, JSON]


@dataclass(frozen=True, slots=True)
class Migration:
    """A state of an older version, and what `migrate` must make of it."""

    pointer: str  # of the scenario in its file
    given: JSON
    version: int
    context: Context
    migrated: JSON


@dataclass(frozen=True, slots=True)
class Scenario:
    """A sequence of messages to one key."""

    name: str
    key: str
    steps: tuple[Step, ...]
    migration: Migration | None = None


def told(refusal: Refusal) -> dict[str, JSON]:
    """Return a handler's refusal as a scenario may have it."""
    detail = {name: value for name, value in refusal.detail.items() if name != "code"}
    return {"refused": refusal.reason, "message": refusal.message, "detail": detail}


def slug(name: str) -> str:
    """Return a scenario's name as message ids begin with it: contracts/README.md has the rule."""
    lower = re.sub("[A-Z]", lambda letter: letter[0].lower(), name)
    return re.sub("[^a-z0-9]+", "-", lower).strip("-")


def merged(target: JSON, patch: JSON) -> JSON:
    """Apply a JSON merge patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def load_scenarios(file: Path, contract: Contract, *, judged: bool = True) -> list[Scenario]:
    """Read scenarios.json and hold every request and expectation to the contract.

    Not `judged`, expectations are taken as they are, or left out. Raises ContractBroken at the
    first fault.
    """
    document = read_json(file)
    require_shape(file, document, "scenarios.schema.json")
    scenarios: list[Scenario] = []
    slugs: set[str] = set()
    for n, written in enumerate(ScenariosFile.model_validate(document).scenarios):
        at = f"/scenarios/{n}"
        if not slug(written.name) or slug(written.name) in slugs:
            raise ContractBroken(
                str(file),
                f"{at}/name",
                "unique",
                f"{slug(written.name)!r} must be there, and differ from the others'",
            )
        slugs.add(slug(written.name))
        try:
            contract.check_key(written.key)
        except BridgeError as error:
            raise ContractBroken(str(file), f"{at}/key", "key", error.message) from None
        steps = tuple(_steps(file, contract, written, at, judged))
        migration = _migration(file, contract, written, at, steps[0].context)
        scenarios.append(Scenario(written.name, written.key, steps, migration))
    return scenarios


def _migration(
    file: Path, contract: Contract, whole: WrittenScenario, at: str, context: Context
) -> Migration | None:
    version = whole.given_version
    if version is None:
        return None
    for name in ("given", "migrated"):
        if name not in whole.model_fields_set:
            what = f"`given_version` needs `{name}` beside it"
            raise ContractBroken(str(file), at, "required", what)
    if not contract.migrates_from <= version < contract.version:
        what = (
            f"expected a version that {contract.name}@{contract.version} migrates from, "
            f"got {version}: the contract's `migrates_from` names the oldest"
        )
        raise ContractBroken(str(file), f"{at}/given_version", "migrates_from", what)
    return Migration(at, whole.given, version, context, whole.migrated)


def _steps(
    file: Path, contract: Contract, whole: WrittenScenario, at: str, judged: bool
) -> Iterator[Step]:
    state = contract.initial_state
    member = "given" if whole.given_version is None else "migrated"
    if member in whole.model_fields_set:
        state = getattr(whole, member)
        violation = contract.state.violation(state, f"{at}/{member}")
        if violation and (judged or member == "given"):
            raise ContractBroken(str(file), violation.pointer, violation.rule, str(violation))
    for n, step in enumerate(whole.steps):
        here = f"{at}/steps/{n}"
        message_id = step.message_id or f"{slug(whole.name)}/{n}"
        context = context_for(
            message_id, step.now_ms, step.now_ms + contract.timeout_ms, ZONE, whole.key
        )
        try:
            operation = contract.operation(step.operation, internal=True)
            request = operation.check_request(step.request)
            outcome, refused = _expected(operation, step, state)
            if judged:
                outcome = _judged(contract, operation, outcome, refused)
        except (BridgeError, RuntimeFault) as error:
            raise ContractBroken(str(file), here, error.code, error.message) from None
        written = step.model_dump(exclude_unset=True)
        yield Step(here, operation, request, context, state, outcome, refused, written)
        if outcome is not None and operation.kind == "command":
            state = outcome.state


def _expected(
    operation: Operation, step: WrittenStep, state: JSON
) -> tuple[Outcome | None, Refused | None]:
    match step.expect:
        case None:
            return None, None
        case ExpectedRefusal(refused=reason, message=message, detail=detail):
            return None, Refused(reason, message, detail)
        case ExpectedReply(reply=reply) if operation.kind == "query":
            return Outcome(reply, []), None
        case ExpectedOutcome() as expected if operation.kind == "command":
            return Outcome(expected.reply, expected.effects, _after(expected, state)), None
        case _:
            raise BridgeError(
                "invalid_request",
                f"{operation.name} is a {operation.kind}: a query expects `reply`, a command "
                "`reply`, `effects` and `state`, `patch` or neither",
            )


def _judged(
    contract: Contract, operation: Operation, outcome: Outcome | None, refused: Refused | None
) -> Outcome | None:
    if refused is not None:
        refusal = Refusal(refused.reason, refused.message or "", **(refused.detail or {}))
        operation.check_refusal(refusal, "scenario")
    elif outcome is None:
        raise BridgeError("invalid_request", "no `expect`: write one, or let --accept do it")
    return outcome and contract.check_outcome(operation, outcome, "scenario")


def _after(expected: ExpectedOutcome, state: JSON) -> JSON:
    """Return the state a command leads to from the one it meets."""
    if "state" not in expected.model_fields_set:
        return state if expected.patch is None else merged(state, expected.patch)
    if expected.patch is not None:
        raise BridgeError(
            "invalid_request", "`state` is all of it, beside `patch`: leave one out"
        )
    return expected.state
