"""`bridge contracts`: list, show and check them, and import schemas for them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from pathlib import Path

from bridge.cli import compatibility
from bridge.cli.command import (
    Call,
    CommandFailed,
    Commands,
    UsageError,
    add_command,
    add_group,
    add_subsystem,
    say_error,
)
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
from bridge.contracts.files import contract_folders, read_json
from bridge.contracts.importing import import_schema, name_for
from bridge.contracts.loading import subset
from bridge.contracts.registry import Registry
from bridge.contracts.scenarios import FILE_NAME as SCENARIOS
from bridge.contracts.scenarios import load_scenarios
from bridge.contracts.types import elixir, python, typescript
from bridge.errors import ContractBroken
from bridge.joelclaw.envelopes import NAMES
from bridge.joelclaw.examples import faults
from bridge.live import Live, look
from bridge.message import RUNTIMES
from bridge.progress import Progress
from bridge.settings import Settings

CONTRACTS = {
    "name": "subsystem",
    "version": "version",
    "owner": "first owner",
    "fallback": "fallback",
    "operations": "operations",
    "digest": "digest",
}
OPERATIONS = {
    "operation": "operation",
    "kind": "kind",
    "request": "request",
    "reply": "reply",
    "internal": "internal",
    "effects": "effects",
    "errors": "errors",
    "summary": "summary",
}


CHECKS = {
    "check": "check",
    "subsystem": "subsystem",
    "runtime": "runtime",
    "what": "what",
    "result": "result",
}


def add(commands: Commands) -> None:
    group = add_group(
        commands,
        "contracts",
        "list, show and check the contracts; alone: list",
        _list,
        contracts=None,
        implementations=None,
    )
    add_folders(add_command(group, "list", "list every subsystem's contract", _list))
    parser = add_command(
        group, "show", "show a contract: operations, a call of each, schemas", _show
    )
    add_subsystem(parser, required=True)
    add_folders(parser)
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
    parser = add_command(
        group,
        "generate",
        "write the types of a folder's subsystems beside their contracts: pydantic models, "
        "TypeScript types, Elixir typespecs",
        _generate,
        json=False,
    )
    parser.add_argument("folder", metavar="DIR", help="a folder of subsystems, or one's own")
    parser.add_argument(
        "--runtimes",
        metavar="LIST",
        default=",".join(RUNTIMES),
        help="of python, typescript and elixir, separated by commas; default: all",
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing, fail where a file has drifted"
    )
    compatibility.add(group)
    parser = add_command(
        group,
        "import",
        "write a JSON Schema of draft-07 or 2020-12 again as `$defs` for a contract",
        _import,
        json=False,
    )
    parser.add_argument("file", metavar="FILE", help="a JSON Schema, as Zod and Effect emit it")
    parser.add_argument("--out", metavar="FILE", help="write here instead of standard output")
    parser.add_argument(
        "--loosen",
        action="store_true",
        help="where contracts have nothing that says the same, take what allows more",
    )


def _list(call: Call) -> int:
    registry = _registry(call)
    rows = []
    for name in registry.names():
        contract = registry.get(name)
        rows.append(
            {
                "name": name,
                "version": contract.version,
                "owner": contract.owner,
                "fallback": contract.fallback,
                "summary": contract.summary,
                "operations": len(contract.operations),
                "digest": contract.digest,
            }
        )
    call.show(CONTRACTS, rows)
    return 0


def _show(call: Call) -> int:
    registry = _registry(call)
    contract = registry.get(call.args.subsystem)
    file = registry.file(contract.name)
    document = read_json(file)
    examples = _examples(file.with_name(SCENARIOS), contract)
    rows = [
        {
            "operation": name,
            "kind": operation.kind,
            "internal": operation.internal,
            "effects": sorted(operation.effects),
            "errors": list(operation.errors),
            "summary": operation.summary,
            "request": document["operations"][name]["request"],
            "reply": document["operations"][name]["reply"],
            "example": examples.get(name, ""),
        }
        for name, operation in contract.operations.items()
    ]
    call.show(OPERATIONS, rows)
    if not call.args.json:
        shapes = {member: document.get(member, {}) for member in ("state", "events", "$defs")}
        print("\n".join(["", *examples.values()]))
        print("\n" + json.dumps(shapes, indent=2, ensure_ascii=False))
    return 0


def _examples(file: Path, contract: Contract) -> dict[str, str]:
    """Return a call for each operation that clients have, as its first scenario asks it."""
    found: dict[str, str] = {}
    if not file.is_file():
        return found
    for scenario in load_scenarios(file, contract):
        for step in scenario.steps:
            if not step.operation.internal:
                asked = json.dumps(step.request, ensure_ascii=False)
                text = f"bridge call {contract.name}:{scenario.key} {step.operation.name}"
                found.setdefault(step.operation.name, f"{text} {shlex.quote(asked)}")
    return found


LIVE = {
    "subsystem": "subsystem",
    "version": "version",
    "holds": "hold",
    "migrates": "would be migrated",
    "breaks": "break",
    "timers": "timers",
    "timers_break": "timers that break",
}


def _live(call: Call) -> int:
    """Look at each subsystem that has live keys, or at the one that is named."""
    registry = _registry(call)
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


_TYPES = {"python": (python, "py"), "typescript": (typescript, "ts"), "elixir": (elixir, "ex")}


def _generate(call: Call) -> int:
    runtimes = call.args.runtimes.split(",")
    if unknown := set(runtimes) - set(RUNTIMES):
        known, got = ", ".join(RUNTIMES), ", ".join(sorted(unknown))
        raise UsageError(f"--runtimes: expected some of {known}, got {got}")
    registry, drifted = Registry.load(Path(call.args.folder)), 0
    for name in registry.names():
        contract = read_json(registry.file(name))
        for runtime in runtimes:
            language, suffix = _TYPES[runtime]
            file = registry.file(name).with_name(f"{name}_types.{suffix}")
            text = language.write(contract)
            if file.is_file() and file.read_text(encoding="utf-8") == text:
                continue
            drifted += 1
            if call.args.check:
                print(f"{file} is not what the contract gives")
            else:
                file.write_text(text, encoding="utf-8")
                print(f"wrote {file}")
    return int(call.args.check and drifted > 0)


def _import(call: Call) -> int:
    file, loosen = Path(call.args.file), call.args.loosen
    document = read_json(file)
    imported = import_schema(document, _name(document, file), subset())
    looser = imported.of("loosened")
    for finding in imported.findings:
        kind = "needs --loosen" if finding in looser and not loosen else finding.kind
        at = finding.pointer or "(whole file)"
        say_error(f"{file}: {at}: {kind}: {finding.was}: {finding.says}")
    if refused := imported.of("refused"):
        raise CommandFailed(f"nothing was written: {len(refused)} refused, mend the schema")
    if looser and not loosen:
        raise CommandFailed(
            f"nothing was written: {len(looser)} cannot be said exactly. Mend the schema, or let "
            "the result take more: --loosen"
        )
    text = json.dumps({"$defs": imported.definitions}, indent=2, ensure_ascii=False)
    if call.args.out is None:
        print(text)
    else:
        try:
            with open(call.args.out, "x", encoding="utf-8") as out:
                out.write(text + "\n")
        except FileExistsError:
            raise CommandFailed(f"{call.args.out} is there already: take another --out") from None
        except OSError as error:
            raise CommandFailed(f"{call.args.out}: {error.strerror}") from None
    if imported.root is not None:
        say_error(f'the whole of {file} is {{"$ref": "#/$defs/{imported.root}"}}')
    return 0


def _name(document: object, file: Path) -> str:
    """Return a name for the whole file: its title if that is one, else the file's."""
    title = document.get("title") if isinstance(document, dict) else None
    if isinstance(title, str) and re.fullmatch("[A-Za-z][A-Za-z0-9 _-]*", title):
        return name_for(title)
    return name_for(file.name.removesuffix(".json").removesuffix(".schema"))


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


def _registry(call: Call) -> Registry:
    return Registry.load(*contract_folders(with_folders(call)))
