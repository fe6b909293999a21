"""May a runtime take a subsystem over? One answer, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from bridge.contracts.check import answer, check_scenarios
from bridge.contracts.scenarios import FILE_NAME, load_scenarios
from bridge.errors import BridgeError, ContractBroken, Refusal
from bridge.live import look
from bridge.message import JSON, RUNTIMES, RuntimeName
from bridge.moves.machine import refused

if TYPE_CHECKING:
    from bridge.contracts.registry import Contract, Registry
    from bridge.journal.store import Journal
    from bridge.mover import Mover
    from bridge.runtimes.runtime import Runtime

MOST_STATES = 2000
BUSY = 0.5  # of one after the other, at today's traffic
ENOUGH = 20  # answers that say something of latency


class Finding(NamedTuple):
    """One thing that was looked at; `way_out` is the command that gets what is missing."""

    check: str
    answer: Literal["yes", "no", "unknown"]
    what: str
    way_out: str = ""


class Cutover:
    """Look at everything that speaks for or against a runtime. Nothing is changed by it."""

    def __init__(
        self,
        registry: Registry,
        journal: Journal,
        runtimes: Mapping[RuntimeName, Runtime],
        mover: Mover,
    ) -> None:
        self._registry = registry
        self._journal = journal
        self._runtimes = runtimes
        self._mover = mover

    async def answer(self, subsystem: str, target: str) -> dict[str, JSON]:
        """Return the answer and its findings: `yes` only if all of them are.

        Raises BridgeError `unknown_topic`, or `invalid_request` for what is no runtime.
        """
        contract = self._registry.get(subsystem)
        if target not in RUNTIMES:
            raise refused(f"no runtime {target!r}, expected one of {', '.join(RUNTIMES)}")
        status = await self._mover.status(subsystem)
        runtime = self._runtimes.get(target)
        if runtime is None or not runtime.available(subsystem):
            what = f"{target} cannot be reached for {contract.name}@{contract.version}"
            found = [Finding("contract", "no", what, "bridge doctor")]
        else:
            held = f"{target} serves it from contract {contract.digest[:8]}"
            found = [Finding("contract", "yes", held)]
            found += await self._scenarios(contract, target, runtime)
            found.append(await self._states(contract))
            build = await self._build(contract, runtime)
            found += _evidence(status, target, build)
        found.append(_stand_in(contract, target))
        worst = {finding.answer for finding in found}
        return {
            "subsystem": subsystem,
            "to": target,
            "answer": "no" if "no" in worst else "yes" if worst == {"yes"} else "unknown",
            "findings": [finding._asdict() for finding in found],
        }

    async def _scenarios(
        self, contract: Contract, target: RuntimeName, runtime: Runtime
    ) -> list[Finding]:
        rows = await check_scenarios(self._registry, {target: runtime}, [contract.name])
        wrong = [row for row in rows if not row.ok]
        again = f"bridge contracts check {contract.name}"
        if wrong:
            text = f"{len(wrong)} of {len(rows)} fail, for example {wrong[0].what}: "
            return [Finding("scenarios", "no", text + wrong[0].problem, again)]
        if not rows:
            return [Finding("scenarios", "unknown", "there are none", again)]
        return [Finding("scenarios", "yes", f"all {len(rows)} pass in what {target} runs now")]

    async def _states(self, contract: Contract) -> Finding:
        live = await look(self._journal, contract, MOST_STATES)
        if live.problem:
            again = f"bridge contracts check --live {contract.name}"
            return Finding("states", "no", live.problem, again)
        return Finding("states", "yes", str(live))

    async def _build(self, contract: Contract, runtime: Runtime) -> str:
        """Ask the runtime which build it is: it says so with each answer."""
        file = self._registry.file(contract.name).with_name(FILE_NAME)
        try:
            step = load_scenarios(file, contract)[0].steps[0]
            said = await answer(contract, step.context.key, step, runtime.name, runtime)
            return said.build
        except (ContractBroken, BridgeError, Refusal, OSError, LookupError):
            return ""


def _evidence(status: dict[str, Any], target: str, build: str) -> list[Finding]:
    begin = f"bridge move {status['subsystem']} --to {target}"
    if status["owner"] == target and status["phase"] not in ("shadow", "canary"):
        return [Finding("shadow", "yes", f"{target} owns it already")]
    if status["move"] is None or status["move"]["target"] != target:
        return [Finding("shadow", "unknown", "nothing was compared", begin)]
    evidence, verdict = status["evidence"], status["verdict"]
    text = (
        f"{evidence['compared']} compared, {evidence['different']} differ, "
        f"at most {evidence['at_most']:.2%} can"
    )
    diff = f"bridge diff {status['subsystem']}"
    if build and evidence["build"] and build != evidence["build"]:
        text = f"{text}; of build {evidence['build'][:12]}, it runs {build[:12]}"
        return [Finding("shadow", "unknown", text, begin)]
    reasons = f"{text}: {'; '.join(verdict['reasons'])}"
    match verdict["outcome"]:
        case "fail":
            found = [Finding("shadow", "no", reasons, diff)]
        case "pass":
            found = [Finding("shadow", "yes", text)]
        case _:
            watch = f"bridge move status {status['subsystem']} --watch"
            found = [Finding("shadow", "unknown", reasons, watch)]
    return found + _latency(status)


def _latency(status: dict[str, Any]) -> list[Finding]:
    owner, candidate = (status["latency_ms"][side] for side in ("owner", "candidate"))
    took, rate = candidate["took"], status["per_second"]
    if took["n"] < ENOUGH:
        text = f"{took['n']} answers of {candidate['runtime']}, {ENOUGH} say something"
        return [Finding("latency", "unknown", text)]
    text = (
        f"p99 {took['p99']:g} ms beside {owner['took']['p99']:g} of {owner['runtime']}, "
        f"a whole message {owner['whole']['p99']:g}"
    )
    busy = rate * took["p50"] / 1000
    load = f"at {rate:g} commands a second one after the other would keep it busy {busy:.1%}"
    return [
        Finding("latency", "yes" if took["p95"] <= status["slow_ms"] else "no", text),
        Finding("headroom", "yes" if busy <= BUSY else "unknown", load),
    ]


def _stand_in(contract: Contract, target: str) -> Finding:
    if contract.fallback in (None, target):
        text = f"nobody answers while {target} is away: clients get errors they may repeat"
    else:
        text = f"{contract.fallback} answers while {target} is away"
    return Finding("fallback", "yes", text)
