"""`bridge contracts check`: contracts, scenarios in every runtime here, live states."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from pathlib import Path

from bridge.cli.command import Call, Commands, UsageError, add_command, add_subsystem, say_error
from bridge.cli.reports import junit, workflow_commands
from bridge.cli.running import add_folders, with_folders
from bridge.cli.runtimes import Present, present
from bridge.contracts.accepting import accepted
from bridge.contracts.check import (
    Row,
    check_contracts,
    check_generated,
    check_released,
    check_scenarios,
)
from bridge.contracts.contract import Contract
from bridge.contracts.files import contract_folders
from bridge.contracts.registry import Registry
from bridge.contracts.scenarios import FILE_NAME as SCENARIOS
from bridge.contracts.scenarios import load_scenarios
from bridge.errors import ContractBroken
from bridge.joelclaw.envelopes import NAMES
from bridge.joelclaw.examples import faults
from bridge.live import Live, look
from bridge.message import RUNTIMES
from bridge.progress import Progress
from bridge.settings import Settings

CHECKS = {
    "check": "check",
    "subsystem": "subsystem",
    "runtime": "runtime",
    "what": "what",
    "result": "result",
}
LIVE = {
    "subsystem": "subsystem",
    "version": "version",
    "holds": "hold",
    "migrates": "would be migrated",
    "breaks": "break",
    "timers": "timers",
    "timers_break": "timers that break",
}


def add(group: Commands) -> None:
    parser = add_command(
        group,
        "check",
        "check contracts, scenarios in every runtime here, generated files; with --contracts "
        "only that folder's contracts and scenarios",
        _check,
    )
    add_subsystem(parser)
    add_folders(parser)
    parser.add_argument(
        "--live",
        action="store_true",
        help="hold the live states and timers of the running bridge against these contracts, "
        "and nothing else",
    )
    parser.add_argument(
        "--require",
        metavar="RUNTIMES",
        default="",
        help="fail if one of these did not run: python,typescript,elixir",
    )
    parser.add_argument(
        "--accept",
        action="store_true",
        help="first write into the scenarios what all runtimes here answer, to be read as a diff",
    )
    parser.add_argument("--junit", metavar="FILE", help="write the result as JUnit's XML, too")


def _check(call: Call) -> int:
    if call.args.live:
        return _live(call)
    with Progress() as progress:
        rows = _rows(call, progress)
    call.show(CHECKS, [{**asdict(row), "result": row.problem or "ok"} for row in rows])
    if call.args.junit:
        Path(call.args.junit).write_text(junit(rows), encoding="utf-8")
    if os.environ.get("GITHUB_ACTIONS") == "true":
        print("\n".join(workflow_commands(rows)), file=sys.stderr)
    return int(not all(row.ok for row in rows))


def _live(call: Call) -> int:
    """Look at each subsystem that has live keys, or at the one that is named."""
    registry = Registry.load(*contract_folders(with_folders(call)))
    wanted = [registry.get(call.args.subsystem).name] if call.args.subsystem else registry.names()

    async def look_at_all() -> list[Live]:
        async with call.journal() as journal:
            there = {route.subsystem for route in await journal.routes()}
            names = [name for name in wanted if name in there]
            return [await look(journal, registry.get(name)) for name in names]

    found = asyncio.run(look_at_all())
    call.show(LIVE, [live.as_json() for live in found])
    for live in found:
        for broken in live.samples:
            version = f"version {broken.version}" if broken.version else "a timer"
            say_error(f"{live.subsystem}:{broken.key} ({version}): {broken.why}")
    return int(any(live.problem for live in found))


def _rows(call: Call, doing: Callable[[str], None]) -> list[Row]:
    settings = with_folders(call)
    yours = [Path(folder) for folder in call.args.contracts or ()]
    if call.args.accept:
        asyncio.run(_accept(settings, yours or contract_folders(settings), call.args.subsystem))
    doing("checking contracts")
    rows = check_contracts(yours or contract_folders(settings))
    rows += check_released(yours or contract_folders(settings))
    if not yours:
        rows += _envelopes()
    # What is broken has its row by now; the others' scenarios are run all the same.
    sound = {row.subsystem for row in rows if row.check == "contract" and row.ok}
    if sound:
        registry = Registry.load(*contract_folders(settings), left_out=[])
        wanted = sorted(sound)
        if call.args.subsystem is not None:
            wanted = [registry.get(call.args.subsystem).name]
        if not yours:
            doing("checking what is generated")
            rows += check_generated()
        rows += asyncio.run(_scenarios(settings, registry, wanted, doing))
    return rows + _not_run(call.args.require, {row.runtime for row in rows})


async def _accept(settings: Settings, folders: Sequence[Path], only: str | None) -> None:
    """Write what comes into the scenarios of these folders, or of one subsystem."""
    wanted = Registry.load(*folders, left_out=[]).names()
    registry = Registry.load(*contract_folders(settings), left_out=[])
    async with present(settings, registry) as here:
        for name in [name for name in wanted if only in (None, name)]:
            contract, file = registry.get(name), registry.file(name).with_name(SCENARIOS)
            runtimes = [r for r in here.runtimes.values() if r.available(name)]
            scenarios = load_scenarios(file, contract, judged=False)
            before = file.read_text(encoding="utf-8")
            after = await accepted(before, contract, scenarios, runtimes)
            if runtimes and after != before:
                file.write_text(after, encoding="utf-8")
                say_error(f"{file}: written anew: read the diff before you commit it")


def _not_run(required: str, ran: Collection[str]) -> list[Row]:
    wanted = [name for name in required.split(",") if name]
    if unknown := set(wanted) - set(RUNTIMES):
        known = ", ".join(RUNTIMES)
        raise UsageError(f"--require: expected some of {known}, got {', '.join(sorted(unknown))}")
    why = "required, and no scenario ran in it"
    return [Row("scenario", "", "", name, why) for name in wanted if name not in ran]


def _envelopes() -> list[Row]:
    """Hold contracts/joelclaw to the subset, and its examples to their verdicts."""
    try:
        found = faults()
    except ContractBroken as error:
        found = [str(error)]
    what = f"contracts/joelclaw: {len(NAMES)} envelopes"
    return [Row("envelopes", "", what, problem=fault) for fault in found] or [
        Row("envelopes", "", what)
    ]


async def _scenarios(
    settings: Settings, registry: Registry, wanted: list[str], doing: Callable[[str], None]
) -> list[Row]:
    every = "every scenario"
    async with present(settings, registry, doing=doing) as here:
        for runtime, why in here.missing.items():
            say_error(f"{runtime} is left out: {why}")
        for runtime, why in here.failed.items():
            say_error(f"{runtime} {why}")
        rows = [
            Row("scenario", "", every, runtime, "the runtime did not start")
            for runtime in here.failed
        ]
        for (runtime, name), why in here.unserved.items():
            if name in wanted or name not in registry.names():
                rows.append(Row("scenario", name, every, runtime, f"not served: {why}"))
        ran = await check_scenarios(registry, here.runtimes, wanted, doing)
        for name in wanted:
            _tell_of_absent(here, registry.get(name))
            if name not in {row.subsystem for row in rows + ran}:
                why = "no runtime here implements it: --implementations FILE says where they are"
                rows.append(Row("scenario", name, every, "", why))
        return rows + ran


def _tell_of_absent(here: Present, contract: Contract) -> None:
    """Say which runtimes a contract counts on have no implementation of it."""
    for role, name in (("owner", contract.owner), ("fallback", contract.fallback)):
        runtime = here.runtimes.get(name or "")
        if runtime is None or runtime.available(contract.name):
            continue
        if (name, contract.name) not in here.unserved:
            say_error(f"{contract.name}: its {role} is {name}, which has no implementation of it")
