"""`bridge contracts`: list, show and check them."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from bridge.cli.command import (
    Call,
    Commands,
    add_command,
    add_group,
    add_subsystem,
    say_error,
)
from bridge.cli.running import add_folders, with_folders
from bridge.cli.runtimes import present
from bridge.contracts.check import (
    Row,
    check_contracts,
    check_generated,
    check_released,
    check_scenarios,
)
from bridge.contracts.registry import Registry
from bridge.settings import Settings
from bridge.up.programs import contract_folders

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
    parser = add_command(group, "show", "show the operations of a contract", _show)
    add_subsystem(parser, required=True)
    add_folders(parser)
    parser = add_command(
        group,
        "check",
        "check contracts, scenarios in every runtime here, generated files",
        _check,
    )
    add_subsystem(parser)
    add_folders(parser)


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
    contract = _registry(call).get(call.args.subsystem)
    rows = [
        {
            "operation": name,
            "kind": operation.kind,
            "internal": operation.internal,
            "effects": sorted(operation.effects),
            "errors": list(operation.errors),
            "summary": operation.summary,
        }
        for name, operation in contract.operations.items()
    ]
    call.show(OPERATIONS, rows)
    return 0


def _check(call: Call) -> int:
    settings = with_folders(call)
    rows = check_contracts(contract_folders(settings))
    if all(row.ok for row in rows):
        registry = _registry(call)
        if call.args.subsystem is not None:
            registry.get(call.args.subsystem)
        rows += check_released(registry)
        rows += check_generated()
        rows += asyncio.run(_scenarios(call, settings, registry))
    call.show(CHECKS, [{**asdict(row), "result": row.problem or "ok"} for row in rows])
    return int(not all(row.ok for row in rows))


async def _scenarios(call: Call, settings: Settings, registry: Registry) -> list[Row]:
    wanted = [call.args.subsystem] if call.args.subsystem is not None else []
    async with present(settings, registry) as here:
        for runtime, why in here.missing.items():
            say_error(f"{runtime} is left out: {why}")
        for runtime, why in here.failed.items():
            say_error(f"{runtime} {why}")
        failed = [
            Row("scenario", "", "every scenario", runtime, "the runtime did not start")
            for runtime in here.failed
        ]
        return failed + await check_scenarios(registry, here.runtimes, wanted)


def _registry(call: Call) -> Registry:
    return Registry.load(*contract_folders(with_folders(call)))
