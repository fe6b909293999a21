"""The other side of a move, run again behind what was answered, and what comes of it counted."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from bridge.errors import BridgeError, Refusal, RuntimeFault, RuntimeUnavailable, text_of
from bridge.journal.values import Noted
from bridge.message import JSON, Outcome, RuntimeName
from bridge.moves.comparison import Difference, compare
from bridge.moves.evidence import Group, bucket_of_us, sample_name, signature
from bridge.patience import Timeout

if TYPE_CHECKING:
    from bridge.attempt import Attempt, Failure, Hops
    from bridge.contracts.registry import Contract, Operation
    from bridge.journal.store import Journal
    from bridge.journal.values import Route
    from bridge.runtimes.runtime import Runtime
    from bridge.telemetry import Telemetry

QUEUE = 100  # runs that may wait, of each subsystem
TOGETHER = 8  # runs under way, of each subsystem: the credits a shadow has
PER_SECOND = 200  # runs begun, of each subsystem: they cost the worker what clients need
FLUSH_S = 0.5
SOON_S = 0.2  # once something speaks against the candidate, and between two of them
MOST_TRACES = 100  # of one flush
BROKEN = ("off_contract", "not_serialisable")


class _Run(NamedTuple):
    """An answered message for the other side, which is `runtime`."""

    contract: Contract
    operation: Operation
    route: Route
    attempt: Attempt
    runtime: RuntimeName
    trace: dict[str, JSON]


@dataclass(slots=True)
class _Tally:
    """What is to be added to the evidence of one epoch and pair of builds."""

    counts: Counter[str] = field(default_factory=Counter)
    samples: dict[str, str] = field(default_factory=dict)
    traces: list[str] = field(default_factory=list)
    lost: bool = False


@dataclass(slots=True)
class _Lane:
    """The runs of one subsystem, those of a key one at a time, as messages are.

    `lost_at` is when its candidate went away, else 0.
    """

    waiting: deque[_Run] = field(default_factory=deque)
    under_way: set[asyncio.Task[None]] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)  # of runs under way
    second: int = 0
    begun: int = 0
    lost_at: float = 0.0

    def take(self) -> _Run | None:
        """Return the first run whose key has none under way, and note its key."""
        for n, run in enumerate(self.waiting):
            if run.attempt.invocation.key not in self.keys:
                del self.waiting[n]
                self.keys.add(run.attempt.invocation.key)
                return run
        return None


class Shadow:
    """Watch what the dispatcher answers while a move runs, and run the other side behind it.

    Nothing here is waited for: what does not fit is dropped and counted. `run` writes the sums
    to the journal, sooner when something speaks against a candidate; `noted`, once set, is called
    with each subsystem that something was written of. Of `runtimes` none may hold up the worker:
    Python's is one apart.
    """

    def __init__(
        self,
        journal: Journal,
        runtimes: Mapping[RuntimeName, Runtime],
        telemetry: Telemetry,
        *,
        per_second: int = PER_SECOND,
    ) -> None:
        self._journal = journal
        self._runtimes = dict(runtimes)
        self._telemetry = telemetry
        self.noted: Callable[[str], None] = lambda subsystem: None
        self._per_second = per_second
        self._lanes: dict[str, _Lane] = {}
        self._tallies: dict[tuple[str, int, str], _Tally] = {}
        self._soon = asyncio.Event()

    # -- what the dispatcher tells ---------------------------------------------------------
    def answered(
        self, contract: Contract, operation: Operation, route: Route, attempt: Attempt, us: Hops
    ) -> None:
        candidate, subsystem = route.candidate, route.subsystem
        assert candidate is not None
        tally = self._tally(route)
        tally.counts[f"took:{attempt.runtime}:{bucket_of_us(attempt.took_us)}"] += 1
        tally.counts[f"whole:{attempt.runtime}:{bucket_of_us(us.whole)}"] += 1
        trace: dict[str, JSON] = {
            "id": attempt.invocation.context.message_id,
            "key": attempt.invocation.key,
            "operation": operation.name,
            "epoch": route.epoch,
            "bucket": attempt.bucket,
            "runtime": attempt.runtime,
            "reason": attempt.reason,
            "us": {
                "compute": round(attempt.took_us),
                **{k: round(v) for k, v in us._asdict().items()},
            },
            "failed": [f"{failure.runtime}: {failure.error}" for failure in attempt.failed],
        }
        self._live(route, attempt.bucket, attempt.failed)
        if attempt.runtime == candidate:
            self._there(route)
        fault = _fault_of(candidate, attempt.failed)
        if fault is not None:  # its outcome is known: no need to ask again
            theirs = {"fault": {"kind": fault.kind, "message": fault.message}}
            run = _Run(contract, operation, route, attempt, candidate, trace)
            self._compared(run, _side(operation, attempt.outcome, attempt.refusal), theirs, "")
            return
        other = route.owner if attempt.runtime == candidate else candidate
        self._offer(subsystem, _Run(contract, operation, route, attempt, other, trace))

    def failed(self, route: Route, bucket: int, failed: tuple[Failure, ...]) -> None:
        self._live(route, bucket, failed)
        if not any(failure.runtime == route.candidate for failure in failed):
            self._tally(route).counts["owner_faults"] += 1

    def _live(self, route: Route, bucket: int, failed: tuple[Failure, ...]) -> None:
        """Count a message of the candidate's, and whether it answered it."""
        if not route.share or bucket >= route.share:
            return
        tally = self._tally(route)
        tally.counts[f"asked:{route.share}"] += 1
        for failure in failed:
            if failure.runtime == route.candidate:
                tally.counts[f"stood_in:{route.share}"] += 1
                self._soon.set()
                if failure.called and _is_gone(failure.error):
                    self._lost(route)

    # -- the runs --------------------------------------------------------------------------
    def _offer(self, subsystem: str, run: _Run) -> None:
        lane = self._lanes.setdefault(subsystem, _Lane())
        second = int(time.monotonic())
        if lane.second != second:
            lane.second, lane.begun = second, 0
        if lane.begun >= self._per_second or len(lane.waiting) >= QUEUE:
            self._tally(run.route).counts["dropped"] += 1
            self._trace(run, "dropped")
            return
        lane.begun += 1
        lane.waiting.append(run)
        if len(lane.under_way) < TOGETHER:
            task = asyncio.get_running_loop().create_task(self._work(lane))
            lane.under_way.add(task)
            task.add_done_callback(lane.under_way.discard)

    async def _work(self, lane: _Lane) -> None:
        while (run := lane.take()) is not None:
            try:
                await self._one(run)
            except Exception as error:  # a defect here must not end the others' runs
                self._telemetry.emit("defect", where="shadow", text=text_of(error))
            finally:
                lane.keys.discard(run.attempt.invocation.key)

    async def _one(self, run: _Run) -> None:
        attempt, runtime = run.attempt, self._runtimes.get(run.runtime)
        tally = self._tally(run.route)
        if runtime is None or not runtime.available(run.contract.name):
            tally.counts["missed"] += 1
            self._trace(run, "missed")
            return
        wait_ms = run.contract.timeout_ms
        invocation = attempt.invocation._replace(timeout_ms=wait_ms)
        judge = run.contract.judge(run.operation, run.runtime)
        started = time.perf_counter()
        outcome, refusal = Outcome(None, []), None
        fault: RuntimeFault | None = None
        try:
            async with Timeout(asyncio.get_running_loop().time() + wait_ms / 1000 + 1):
                outcome = await runtime.handle(invocation, judge)
        except Refusal as refused:
            try:
                refusal = run.operation.check_refusal(refused, run.runtime)
            except RuntimeFault as error:
                fault = error
        except RuntimeFault as error:
            fault = error
        except (BridgeError, TimeoutError) as error:
            tally = self._tally(run.route)
            tally.counts["missed"] += 1
            if run.runtime == run.route.candidate and _is_gone(error):
                self._lost(run.route)
            self._trace(run, "missed")
            return
        took_us = (time.perf_counter() - started) * 1e6
        run.trace["shadow_us"] = round(took_us)
        self._judge(run, outcome, refusal, fault, took_us)

    def _judge(
        self,
        run: _Run,
        outcome: Outcome,
        refusal: Refusal | None,
        fault: RuntimeFault | None,
        took_us: float,
    ) -> None:
        """Compare the two sides, whichever of them was the one that counted."""
        attempt, candidate = run.attempt, run.route.candidate
        counted = _side(run.operation, attempt.outcome, attempt.refusal)
        if run.runtime != candidate:
            if fault is not None:
                self._tally(run.route).counts["owner_faults"] += 1
                self._trace(run, "owner failed")
                return
            owners = _side(run.operation, outcome, refusal)
            self._compared(run, owners, counted, _builds(outcome, attempt.outcome))
            return
        self._there(run.route)
        theirs = _side(run.operation, outcome, refusal)
        if fault is not None:
            theirs = {"fault": {"kind": fault.kind, "message": fault.message}}
        else:
            tally = self._tally(run.route)
            tally.counts[f"took:{run.runtime}:{bucket_of_us(took_us)}"] += 1
        builds = ""
        if attempt.runtime == run.route.owner:
            builds = _builds(attempt.outcome, outcome)
        self._compared(run, counted, theirs, builds)

    def _compared(
        self, run: _Run, owner: dict[str, Any], candidate: dict[str, Any], builds: str
    ) -> None:
        differences = compare(run.contract.compare, owner, candidate)
        tally = self._tally(run.route, builds)
        if not differences:
            tally.counts["same"] += 1
            self._trace(run, "same", builds)
            return
        groups = {Group(run.operation.name, d.pointer, d.kind): d for d in reversed(differences)}
        tally.counts[signature(groups)] += 1
        tally.counts["violations"] += any(d.kind in BROKEN for d in differences)
        for group, difference in groups.items():
            tally.samples.setdefault(sample_name(group), _sample(run, difference))
        self._soon.set()
        told = [f"{group.pointer or '(whole)'} {group.kind}" for group in groups]
        self._trace(run, "different", builds, differences=told)

    def _lost(self, route: Route) -> None:
        self._tally(route).lost = True
        lane = self._lanes.setdefault(route.subsystem, _Lane())
        lane.lost_at = lane.lost_at or time.monotonic()
        self._soon.set()

    def _there(self, route: Route) -> None:
        """Note that the candidate answers; and after how long again, if it was away."""
        lane = self._lanes.get(route.subsystem)
        if lane is not None and lane.lost_at:
            counts = self._tally(route).counts
            counts["recovery_ms"] += round((time.monotonic() - lane.lost_at) * 1000)
            counts["recoveries"] += 1
            lane.lost_at = 0.0

    # -- the sums --------------------------------------------------------------------------
    async def run(self) -> None:
        """Write what is counted until cancelled; storage that is away is waited for."""
        said = ""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_S):
                    await self._soon.wait()
            self._soon.clear()
            try:
                await self.flush()
                said = ""
            except BridgeError as error:
                if said != error.code:
                    said = error.code
                    self._telemetry.emit("evidence_waits", text=str(error))
            except Exception as error:  # what cannot be written must not end all of it
                self._telemetry.emit("defect", where="shadow", text=text_of(error))
            await asyncio.sleep(SOON_S)

    async def flush(self) -> None:
        """Write what was counted since the last time, in the order of epochs.

        Raises the first BridgeError; what it befell is kept, and the others' is written all the
        same.
        """
        tallies, self._tallies = self._tallies, {}
        failed: dict[str, BridgeError] = {}
        for (subsystem, epoch, builds), tally in sorted(tallies.items()):
            if subsystem in failed:
                continue
            noted = Noted(
                *(dict(tally.counts), tally.samples, tally.traces, builds),
                lost=tally.lost,
            )
            try:
                await self._journal.moves.note(subsystem, epoch, noted)
            except BridgeError as error:
                failed[subsystem] = error
                continue
            del tallies[subsystem, epoch, builds]
            self.noted(subsystem)
        if failed:
            self._put_back(tallies)
            raise next(iter(failed.values()))

    def _put_back(self, tallies: dict[tuple[str, int, str], _Tally]) -> None:
        for name, tally in tallies.items():
            newer = self._tallies.get(name)
            if newer is not None:
                tally.counts += newer.counts
                tally.samples = {**newer.samples, **tally.samples}
                tally.traces = (tally.traces + newer.traces)[:MOST_TRACES]
                tally.lost |= newer.lost
            self._tallies[name] = tally

    def _tally(self, route: Route, builds: str = "") -> _Tally:
        return self._tallies.setdefault((route.subsystem, route.epoch, builds), _Tally())

    def _trace(self, run: _Run, shadow: str, builds: str = "", **more: JSON) -> None:
        tally = self._tally(run.route, builds)
        if len(tally.traces) < MOST_TRACES:
            told = {**run.trace, "other": run.runtime, "shadow": shadow, **more}
            tally.traces.append(orjson.dumps(told).decode())


def _fault_of(candidate: RuntimeName, failed: tuple[Failure, ...]) -> RuntimeFault | None:
    for failure in failed:
        if failure.runtime == candidate and isinstance(failure.error, RuntimeFault):
            return failure.error
    return None


def _builds(owner: Outcome, candidate: Outcome) -> str:
    """Return what the evidence is of; "" where one of them does not say."""
    return f"{owner.build}/{candidate.build}" if owner.build and candidate.build else ""


def _is_gone(error: Exception) -> bool:
    """Say whether a runtime went away, or stood still, and for a reason of its own."""
    if isinstance(error, RuntimeUnavailable):
        return not error.shared
    return isinstance(error, TimeoutError)


def _side(operation: Operation, outcome: Outcome, refusal: Refusal | None) -> dict[str, Any]:
    """Return an outcome as it is compared."""
    if refusal is not None:
        detail = {name: value for name, value in refusal.detail.items() if name != "code"}
        text = {"reason": refusal.reason, "message": refusal.message, "detail": detail}
        return {"refused": text}
    if operation.kind == "query":
        return {"reply": outcome.reply}
    return {"reply": outcome.reply, "effects": outcome.effects, "state": outcome.state}


def _sample(run: _Run, difference: Difference) -> str:
    context = run.attempt.invocation.context
    shown = {
        "message": context.message_id,
        "key": context.key,
        "at_ms": context.now_ms,
        "owner": difference.owner,
        "candidate": difference.candidate,
    }
    return orjson.dumps(shown).decode()
