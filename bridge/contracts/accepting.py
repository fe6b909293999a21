"""Scenarios with what came of them, for a person to read in the diff. Writes nothing itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bridge.canonical import canonical
from bridge.contracts.check import Runs, answer, migrated
from bridge.contracts.contract import Contract
from bridge.contracts.places import replaced
from bridge.contracts.scenarios import Migration, Scenario, Step, merged, told
from bridge.errors import BridgeError, Refusal
from bridge.message import JSON, Outcome

Came = Outcome | Refusal


async def accepted(
    text: str, contract: Contract, scenarios: Sequence[Scenario], runtimes: Sequence[Runs]
) -> str:
    """Return the text of a scenarios file with what all runtimes answered alike.

    Where they differ, or one fails, the step stays as it is written. Each step meets the state
    that the one before it led to. `scenarios` are those of the text, not judged yet.
    """
    for scenario in scenarios:
        state = scenario.steps[0].state
        if scenario.migration is not None:
            made = await _migrated(contract, scenario.migration, runtimes)
            if made is not None and canonical(made) != canonical(state):
                text = replaced(text, f"{scenario.migration.pointer}/migrated", made)
                state = made
        for step in scenario.steps:
            came = await _agreed(contract, scenario.key, step._replace(state=state), runtimes)
            if came is None:
                after = step.outcome.state if step.outcome else state
            else:
                wanted = _expectation(step, came, state)
                if _differs(step, wanted, state):
                    text = _with(text, step, wanted)
                after = came.state if isinstance(came, Outcome) else state
            if step.operation.kind == "command":
                state = after
    return text


def _with(text: str, step: Step, wanted: dict[str, JSON]) -> str:
    """Write an expectation in the place of a step's own, and no more of it than is another."""
    written = step.written.get("expect")
    if written is None:
        return replaced(text, step.pointer, {**step.written, "expect": wanted})
    if written.keys() != wanted.keys():
        return replaced(text, f"{step.pointer}/expect", wanted)
    for name, value in wanted.items():
        if canonical(value) != canonical(written[name]):
            text = replaced(text, f"{step.pointer}/expect/{name}", value)
    return text


async def _migrated(contract: Contract, given: Migration, runtimes: Sequence[Runs]) -> JSON:
    """Return the one state that all runtimes make of an older one, None if there is none."""
    try:
        made = [await migrated(contract, given, "migrate", runtime) for runtime in runtimes]
    except BridgeError:
        return None
    return made[0] if len(set(map(canonical, made))) == 1 else None


async def _agreed(
    contract: Contract, key: str, step: Step, runtimes: Sequence[Runs]
) -> Came | None:
    """Return the one answer of all runtimes, None if there is none."""
    answers: list[Came] = []
    for runtime in runtimes:
        try:
            answers.append(await answer(contract, key, step, "the handler", runtime))
        except Refusal as refusal:
            answers.append(refusal)
        except BridgeError:
            return None
    forms = {canonical(_whole(step, came)) for came in answers}
    return answers[0] if len(forms) == 1 else None


def _whole(step: Step, came: Came) -> dict[str, JSON]:
    """Return all that may be compared of an answer."""
    if isinstance(came, Refusal):
        return told(came)
    if step.operation.kind == "query":
        return {"reply": came.reply}
    return {"reply": came.reply, "effects": came.effects, "state": came.state}


def _expectation(step: Step, came: Came, state: JSON) -> dict[str, JSON]:
    """Return what is written of an answer: of a state as little as says it."""
    whole = _whole(step, came)
    if isinstance(came, Refusal):
        held = step.refused.as_json() if step.refused else {"message": ""}
        return {name: value for name, value in whole.items() if name in {"refused", *held}}
    if "state" in whole:
        after = whole.pop("state")
        return whole | change(state, after)
    return whole


def change(before: JSON, after: JSON) -> dict[str, JSON]:
    """Return a state as it is written beside the one before: not at all, a patch, or whole."""
    if canonical(before) == canonical(after):
        return {}
    patch = _patch(before, after)
    exact = isinstance(patch, dict) and canonical(merged(before, patch)) == canonical(after)
    if exact and len(canonical(patch)) < len(canonical(after)):
        return {"patch": patch}
    return {"state": after}


def _patch(before: JSON, after: JSON) -> Any:
    """Return the merge patch between two values, as far as there is one."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return after
    gone = {name: None for name in before if name not in after}
    changed = {
        name: _patch(before.get(name), value)
        for name, value in after.items()
        if name not in before or canonical(before[name]) != canonical(value)
    }
    return {**changed, **gone}


def _differs(step: Step, wanted: dict[str, JSON], state: JSON) -> bool:
    """Say whether what is written means something else, now that it meets this state."""
    if "expect" not in step.written:
        return True
    expect = dict(step.written["expect"])
    return canonical(_meant(expect, state)) != canonical(_meant(wanted, state))


def _meant(expect: dict[str, JSON], state: JSON) -> dict[str, JSON]:
    if "effects" not in expect:
        return expect
    meant = {"state": state, **expect}
    if "patch" in meant:
        meant["state"] = merged(state, meant.pop("patch"))
    return meant
