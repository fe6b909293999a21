"""`bridge journal replay`: committed commands once more, through any runtime and any build."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bridge.cli.command import Call, CommandFailed, UsageError, say_json
from bridge.cli.running import with_folders
from bridge.cli.runtimes import Present, present
from bridge.contracts.files import contract_folders
from bridge.contracts.registry import Contract, Registry
from bridge.errors import BridgeError, Refusal, RuntimeFault
from bridge.history.replay import context_of
from bridge.journal.patch import patched
from bridge.journal.redis import RedisJournal
from bridge.message import JSON, Invocation
from bridge.moves.comparison import Difference, compare
from bridge.moves.evidence import Group
from bridge.runtimes.runtime import Runtime
from bridge.table import table

PAGE = 500


class Recorded(NamedTuple):
    """A committed command, and the state it was computed from."""

    position: str
    entry: dict[str, Any]
    state: JSON


@dataclass(slots=True)
class Report:
    """What came of a stretch: it depends on nothing but the stretch and the handlers."""

    compared: int = 0
    same: int = 0
    other_contract: int = 0
    took_us: list[float] = field(default_factory=list)
    here_s: float = 0.0  # computed in this process for the answers
    groups: Counter[Group] = field(default_factory=Counter)
    examples: dict[Group, tuple[str, Difference]] = field(default_factory=dict)

    def add(self, recorded: Recorded, differences: list[Difference]) -> None:
        self.compared += 1
        self.same += not differences
        found: dict[Group, Difference] = {}
        for each in differences:
            group = Group(recorded.entry["operation"], each.pointer, each.kind)
            found.setdefault(group, each)
        for group, difference in found.items():
            self.groups[group] += 1
            self.examples.setdefault(group, (recorded.entry["id"], difference))

    def rows(self) -> list[dict[str, JSON]]:
        rows: list[dict[str, JSON]] = []
        for group, count in sorted(self.groups.items(), key=lambda item: (-item[1], item[0])):
            message_id, difference = self.examples[group]
            shown = {"recorded": difference.owner, "replayed": difference.candidate}
            rows.append({**group._asdict(), "messages": count, **shown, "message_id": message_id})
        return rows


def run(call: Call) -> int:
    """Replay, and return 1 if anything came out differently."""
    args, settings = call.args, with_folders(call)
    if args.limit < 1:
        raise UsageError("--limit is at least 1")
    registry = Registry.load(*contract_folders(settings), left_out=[])
    contract = registry.get(args.subsystem)

    async def replayed() -> Report:
        async with (
            call.journal() as journal,
            present(settings, registry, [args.runtime]) as here,
        ):
            await call.subsystems(journal)
            found = stretch(journal, contract, args.key, args.after, args.until)
            return await replay(contract, served(here, args.runtime, contract), found, args.limit)

    report = asyncio.run(replayed())
    _show(call, report)
    return int(bool(report.groups))


def served(here: Present, name: str, contract: Contract) -> Runtime:
    """Return a runtime that serves the subsystem. Raises CommandFailed."""
    runtime = here.runtimes.get(name)
    if runtime is None:
        raise CommandFailed(f"{name}: {here.missing.get(name) or here.failed.get(name)}")
    if not runtime.available(contract.name):
        raise CommandFailed(
            f"{name} has no implementation of {contract.name}: --contracts and "
            "--implementations as for `bridge up`"
        )
    return runtime


async def replay(
    contract: Contract, runtime: Runtime, stretch: AsyncIterator[Recorded], limit: int
) -> Report:
    """Compute up to `limit` recorded commands again, one after the other."""
    report = Report()
    async for recorded in stretch:
        if recorded.entry["digest"] != contract.digest:
            report.other_contract += 1
            continue
        report.add(recorded, await _again(contract, runtime, recorded, report))
        if report.compared == limit:
            break
    return report


async def stretch(
    journal: RedisJournal, contract: Contract, key: str, after: str, until: str
) -> AsyncIterator[Recorded]:
    """Yield the entries of a stretch with their states, each with the state before it.

    An entry whose state before was trimmed is left out.
    """
    states: dict[str, JSON] = {}
    position = after
    while page := await journal.entries(contract.name, position, PAGE, key):
        for position, entry in page:
            if until and _order(position) > _order(until):
                return
            before = states.get(entry["key"])
            if "state" in entry and before is not None:
                state = entry["state"]
            elif before is not None:
                state = patched(before, entry["patch"])
            else:
                try:
                    before, state = await journal.states(contract.name, position)
                except BridgeError:
                    states |= {entry["key"]: entry["state"]} if "state" in entry else {}
                    continue
                before = contract.initial_state if before is None else before
            if "migrated" in entry:  # the handler met that one
                before = entry["migrated"]["state"]
            states[entry["key"]] = state
            yield Recorded(position, {**entry, "state": state}, before)


async def _again(
    contract: Contract, runtime: Runtime, recorded: Recorded, report: Report
) -> list[Difference]:
    """Compute a command again and compare; how long that took is added to the report.

    Raises CommandFailed for a runtime that does not answer.
    """
    entry = recorded.entry
    operation = contract.operation(entry["operation"], internal=True)
    invocation = Invocation(
        subsystem=contract.name,
        key=entry["key"],
        operation=operation.name,
        kind=operation.kind,
        request=entry["request"],
        state=recorded.state,
        context=context_of(entry["context"]),
        digest=contract.digest,
        timeout_ms=contract.timeout_ms,
    )
    again: dict[str, Any]
    started, here_s = time.perf_counter(), time.process_time()
    try:
        outcome = await runtime.handle(invocation, contract.judge(operation, runtime.name))
        again = {"reply": outcome.reply, "effects": outcome.effects, "state": outcome.state}
    except Refusal as refusal:
        again = {"refused": {"reason": refusal.reason, "message": refusal.message, "detail": {}}}
    except RuntimeFault as fault:
        again = {"fault": {"kind": fault.kind, "message": fault.message}}
    except BridgeError as error:
        raise CommandFailed(f"{runtime.name}: {error.message}") from None
    report.took_us.append((time.perf_counter() - started) * 1e6)
    report.here_s += time.process_time() - here_s
    then = {name: entry[name] for name in ("reply", "effects", "state")}
    return compare(contract.compare, then, again)


def _show(call: Call, report: Report) -> None:
    rows = report.rows()
    if call.args.json:
        for row in rows:
            say_json(row)
        return
    print(
        f"{report.compared} commands of {call.args.subsystem} through {call.args.runtime}: "
        f"{report.same} as they were, {report.compared - report.same} otherwise"
        + (f", {report.other_contract} of another contract" if report.other_contract else "")
    )
    if rows:
        print(table(list(rows[0]), [list(row.values()) for row in rows]))


def _order(position: str) -> tuple[int, int]:
    ms, _, n = position.partition("-")
    if not (ms.isdecimal() and (n or "0").isdecimal()):
        raise UsageError(f"{position!r} is no position, `bridge journal list` shows them")
    return int(ms), int(n or 0)
