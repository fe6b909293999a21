"""`bridge scorecard`: runtimes of a subsystem side by side."""

from __future__ import annotations

import asyncio
import os
from typing import Any
from urllib.parse import quote

from bridge.cli import journal_replay
from bridge.cli.command import Call, CommandFailed, Commands, add_command, add_subsystem, say_json
from bridge.cli.running import add_folders, with_folders
from bridge.cli.runtimes import present
from bridge.cli.usage import usage
from bridge.contracts.files import contract_folders
from bridge.contracts.registry import Contract, Registry
from bridge.message import RUNTIMES
from bridge.table import table
from bridge.up.admin import fetch

WARM = 50  # commands before anything is measured

Rows = dict[str, list[Any]]  # a value for each runtime, by what it says


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "scorecard",
        "set the two sides of a move side by side, or with --replay runtimes that compute the "
        "same recorded commands, each alone",
        _run,
    )
    add_subsystem(parser, required=True)
    parser.add_argument("--markdown", action="store_true", help="for a decision record")
    parser.add_argument(
        "--replay", type=int, default=0, metavar="N", help="compute so many commands again"
    )
    parser.add_argument(
        "--runtimes", default=",".join(RUNTIMES), help="replay: in these, default all"
    )
    add_folders(parser)


def _run(call: Call) -> int:
    rows = _replayed(call) if call.args.replay > 0 else _of_move(call)
    name, sides = next(iter(rows.items()))
    if call.args.json:
        for n in range(len(sides)):
            say_json({what: values[n] for what, values in rows.items()})
        return 0
    headings = [f"{call.args.subsystem}: {name}", *map(str, sides)]
    cells = [[what, *values] for what, values in rows.items() if what != name]
    print(_markdown(headings, cells) if call.args.markdown else table(headings, cells))
    return 0


# -- of a move --------------------------------------------------------------------------------
def _of_move(call: Call) -> Rows:
    name = call.args.subsystem
    status = fetch(f"{call.run_file().url}/admin/moves/{quote(name)}", call.settings.token)
    if status["move"] is None:
        raise CommandFailed(
            f"nothing to compare: `bridge move {name} --to RUNTIME` gathers it, or --replay N"
        )
    latency, evidence = status["latency_ms"], status["evidence"]
    sides = (latency["owner"], latency["candidate"])
    rows: Rows = {"runtime": [side["runtime"] for side in sides]}
    rows["role"] = ["owner", "candidate"]
    for what, text in (("took", "computing"), ("whole", "whole message")):
        rows[f"{text}: messages"] = [sides[0][what]["n"], sides[1][what]["n"]]
        for p in ("p50", "p95", "p99"):
            rows[f"{text}: {p} ms"] = [side[what][p] if side[what]["n"] else "" for side in sides]
    rows["faults"] = [evidence["owner_faults"], evidence["faults"]]
    rows["contract violations"] = ["", evidence["violations"]]
    rows["away"] = ["", evidence["losses"]]
    rows["back after, ms"] = ["", evidence["recovery_ms"]]
    rows["differ"] = ["", f"{evidence['different']} of {evidence['compared']}"]
    rows["build"] = ["", evidence["build"][:12]]
    return rows


# -- of a replay ------------------------------------------------------------------------------
def _replayed(call: Call) -> Rows:
    settings = with_folders(call)
    registry = Registry.load(*contract_folders(settings), left_out=[])
    contract = registry.get(call.args.subsystem)
    wanted = [name for name in call.args.runtimes.split(",") if name]

    async def measure() -> list[dict[str, Any]]:
        return [await _alone(call, registry, contract, name) for name in wanted]

    measured = [each for each in asyncio.run(measure()) if each["commands"]]
    if not measured:
        raise CommandFailed(f"no recorded commands of {contract.name} that fit its contract")
    return {what: [each[what] for each in measured] for what in measured[0]}


async def _alone(call: Call, registry: Registry, contract: Contract, name: str) -> dict[str, Any]:
    """Have one runtime compute the commands, with nothing else to do; the first are not counted.

    Computing time is that of its process, and for Python, which has none of its own here, of the
    calls. What gateway and Redis compute to carry the messages is not in it.
    """
    settings = with_folders(call)
    async with call.journal() as journal, present(settings, registry, [name]) as here:
        runtime = journal_replay.served(here, name, contract)
        child = here.children.get(name)
        pid = (child.pid if child is not None else None) or os.getpid()
        found = journal_replay.stretch(journal, contract, "", "", "")
        await journal_replay.replay(contract, runtime, found, WARM)
        before = await asyncio.to_thread(usage, pid)
        found = journal_replay.stretch(journal, contract, "", "", "")
        report = await journal_replay.replay(contract, runtime, found, call.args.replay)
        after = await asyncio.to_thread(usage, pid)
    took = sorted(report.took_us) or [0.0]
    cpu_s = report.here_s if child is None else after.cpu_s - before.cpu_s
    cpu_us = cpu_s * 1e6 / max(1, report.compared)
    return {
        "runtime": name,
        "commands": report.compared,
        "as recorded": report.same,
        **{f"p{p} ms": round(took[len(took) * p // 100] / 1000, 3) for p in (50, 95, 99)},
        "CPU µs a command": round(cpu_us),
        "memory MB": round(after.rss_bytes / 1e6, 1),
        "grown by MB": round((after.rss_bytes - before.rss_bytes) / 1e6, 1),
    }


def _markdown(headings: list[str], rows: list[list[Any]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
