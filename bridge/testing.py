"""A subsystem's scenarios in your own tests, without a bridge.

    from bridge.testing import scenarios

    @pytest.mark.parametrize("scenario", scenarios("mine/tally"), ids=str)
    def test_tally(scenario):
        scenario.check(handle)

Answers are held to the contract, then compared: contracts/README.md has the rules.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from bridge.contracts.check import run_scenario
from bridge.contracts.contract import Contract
from bridge.contracts.implementations import Handler, Migrate, WithMigration
from bridge.contracts.registry import Registry
from bridge.contracts.scenarios import FILE_NAME, Scenario, load_scenarios
from bridge.errors import RuntimeFault
from bridge.message import Invocation, Judge, Outcome
from bridge.runtimes.python import outcome_of


@dataclass(frozen=True, slots=True)
class Case:
    """One scenario of a subsystem; `str` is its name."""

    contract: Contract
    scenario: Scenario

    def check(self, handle: Handler, migrate: Migrate | None = None) -> None:
        """Run every step. Raises AssertionError at the first difference, by JSON pointers.

        `migrate` is what the implementation has beside `handle`, where the contract names
        `migrates_from`: a state with `given_version` passes through it first.
        """
        inline = _Inline(WithMigration(handle, migrate) if migrate else handle)
        problem = asyncio.run(run_scenario(self.contract, self.scenario, "python", inline))
        if problem:
            raise AssertionError(problem) from inline.raised

    def __str__(self) -> str:
        return self.scenario.name


def scenarios(folder: str | Path) -> list[Case]:
    """Read a subsystem's folder. Raises ContractBroken for what does not hold together."""
    registry = Registry.load(Path(folder).resolve())
    return [
        Case(registry.get(name), scenario)
        for name in registry.names()
        for scenario in load_scenarios(
            registry.file(name).with_name(FILE_NAME), registry.get(name)
        )
    ]


class _Inline:
    """Calls a handler where it is; without budget, with copies."""

    def __init__(self, handle: Handler) -> None:
        self._handle = handle
        self.raised: BaseException | None = None

    def available(self, subsystem: str) -> bool:
        return True

    async def handle(self, invocation: Invocation, judge: Judge) -> Outcome:
        try:
            return judge(outcome_of(self._handle, invocation))
        except RuntimeFault as fault:
            self.raised = fault.__cause__
            raise
