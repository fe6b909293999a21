"""`bridge contracts`: list, show and check them."""

from __future__ import annotations

from bridge.cli.command import Call, Commands, add_command, add_group, add_subsystem
from bridge.cli.running import add_folders, with_folders
from bridge.contracts.registry import Registry
from bridge.up.programs import contract_folders

CONTRACTS = {
    "name": "subsystem", "version": "version", "owner": "first owner", "fallback": "fallback",
    "operations": "operations", "digest": "digest",
}  # fmt: skip
OPERATIONS = {
    "operation": "operation", "kind": "kind", "internal": "internal", "effects": "effects",
    "errors": "errors", "summary": "summary",
}  # fmt: skip


def add(commands: Commands) -> None:
    group = add_group(commands, "contracts", "list, show and check the contracts")
    add_folders(add_command(group, "list", "list every subsystem's contract", _list))
    parser = add_command(group, "show", "show the operations of a contract", _show)
    add_subsystem(parser, required=True)
    add_folders(parser)


def _list(call: Call) -> int:
    registry = _registry(call)
    rows = []
    for name in registry.names():
        contract = registry.get(name)
        rows.append({
            "name": name, "version": contract.version, "owner": contract.owner,
            "fallback": contract.fallback, "summary": contract.summary,
            "operations": len(contract.operations), "digest": contract.digest,
        })  # fmt: skip
    call.show(CONTRACTS, rows)
    return 0


def _show(call: Call) -> int:
    contract = _registry(call).get(call.args.subsystem)
    rows = [
        {
            "operation": name, "kind": operation.kind, "internal": operation.internal,
            "effects": sorted(operation.effects), "errors": list(operation.errors),
            "summary": operation.summary,
        }
        for name, operation in contract.operations.items()
    ]  # fmt: skip
    call.show(OPERATIONS, rows)
    return 0


def _registry(call: Call) -> Registry:
    return Registry.load(*contract_folders(with_folders(call)))
