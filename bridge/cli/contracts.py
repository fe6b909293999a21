"""`bridge contracts`: list and show them, write their types, import schemas for them."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from bridge.cli import checks, compatibility
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
from bridge.cli.running import add_folders, with_folders
from bridge.contracts.contract import Contract
from bridge.contracts.files import contract_folders, read_json
from bridge.contracts.importing import import_schema, name_for
from bridge.contracts.loading import subset
from bridge.contracts.registry import Registry
from bridge.contracts.scenarios import FILE_NAME as SCENARIOS
from bridge.contracts.scenarios import load_scenarios
from bridge.contracts.types import elixir, python, typescript
from bridge.message import RUNTIMES

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
    checks.add(group)
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


def _registry(call: Call) -> Registry:
    return Registry.load(*contract_folders(with_folders(call)))
