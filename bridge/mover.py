"""Moves as people and evidence drive them: begun, promoted, held, taken back."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from bridge.errors import BridgeError, text_of
from bridge.journal.values import Route, Standing
from bridge.message import JSON, RUNTIMES, RuntimeName
from bridge.moves import machine
from bridge.moves.assignment import moved_keys
from bridge.moves.evidence import Accepted, Evidence
from bridge.moves.machine import Change, Event, Move, Step, refused
from bridge.moves.plan import ANSWERS, DEFAULT, parse_plan
from bridge.moves.report import report
from bridge.moves.verdict import Policy, Verdict, check_policy, judge
from bridge.rotation import Rotation

if TYPE_CHECKING:
    from bridge.contracts.registry import Contract, Registry
    from bridge.journal.store import Journal
    from bridge.runtimes.runtime import Runtime
    from bridge.telemetry import Telemetry

EVERY_S = 5.0  # moves that nothing was noted of: an accepted difference may have expired
RECENT = 100  # commits that tell how much traffic there is ...
RECENT_MS = 3_600_000  # ... those of the last hour
MOST_KEYS = 10_000  # looked at to see what a share moves
BRIDGE = "bridge"  # who it was, when it was the evidence
EVENTS: tuple[Event, ...] = ("promote", "hold", "resume", "rollback", "abort")


class Order(NamedTuple):
    """What somebody asks for; empty texts and zeroes are what the defaults say."""

    event: str
    by: str
    why: str = ""
    to: str = ""
    plan: str = ""
    auto: bool = False
    samples: int = 0
    tolerated: float = 0.0
    below: float = 0.0
    slower_ms: float = 0.0
    anyway: bool = False


class _Looked(NamedTuple):
    """A move with all there is to judge it by."""

    standing: Standing
    move: Move | None
    evidence: Evidence
    accepted: list[Accepted]

    def verdict(self, move: Move) -> Verdict:
        return judge(move, self.evidence, self.accepted, self.standing.now_ms)


class Mover:
    """Change moves on somebody's order, and by what their evidence says.

    Every worker does both: a change is made if nobody else made one since it was read, so two
    never step a move twice. `implementations` says which runtimes can have a subsystem at all.
    """

    def __init__(
        self,
        registry: Registry,
        journal: Journal,
        runtimes: Mapping[RuntimeName, Runtime],
        implementations: Callable[[], Mapping[str, Collection[str]]],
        telemetry: Telemetry,
    ) -> None:
        self._registry = registry
        self._journal = journal
        self._runtimes = runtimes
        self._implementations = implementations
        self._telemetry = telemetry
        self._due: set[str] = set()
        self._moving: set[str] = set()  # as far as this worker knows
        self._turn = Rotation(registry.names(), EVERY_S)
        self._noted = asyncio.Event()

    # -- orders ----------------------------------------------------------------------------
    async def order(self, subsystem: str, order: Order) -> dict[str, JSON]:
        """Do what somebody asks for and return the status then.

        Raises BridgeError `invalid_request` where that cannot be, and says what can.
        """
        if order.event == "start":
            return await self._start(subsystem, order)
        if order.event not in EVENTS:
            expected = ["start", *EVENTS]
            raise refused(f"no event {order.event[:40]!r}, expected one of {', '.join(expected)}")
        event: Event = order.event
        looked = await self._look(subsystem)
        if looked.move is None:
            raise refused(
                f"no move of {subsystem}: `bridge move {subsystem} --to RUNTIME` begins one"
            )
        why, passing = order.why, 0
        if event == "promote":
            verdict = looked.verdict(looked.move)
            if verdict.outcome != "pass" and not order.anyway and looked.move.moving:
                raise refused(
                    f"the evidence is {verdict.outcome}: {'; '.join(verdict.reasons)}. "
                    "`--anyway` promotes without it",
                    verdict=verdict.as_json(),
                )
            if verdict.outcome != "pass":
                why = f"{why} (the evidence was {verdict.outcome})".strip()
            passing = await self._passing(looked.move)
        if not await self._apply(looked, event, order.by, why, passing):
            await self._changed(subsystem)
        return await self.status(subsystem)

    async def _start(self, subsystem: str, order: Order) -> dict[str, JSON]:
        contract = self._registry.get(subsystem)
        standing = await self._journal.moves.standing(subsystem)
        before = Move.of_json(standing.move) if standing.move else None
        plan = parse_plan(order.plan or DEFAULT, order.samples or ANSWERS)
        policy = Policy(order.tolerated, order.below)
        policy = replace(policy, slower_ms=order.slower_ms or policy.slower_ms)
        check_policy(policy, next((s.samples for s in plan if s.phase == "shadow"), 0))
        if order.to not in RUNTIMES:
            raise refused(f"no runtime {order.to!r}, expected one of {', '.join(RUNTIMES)}")
        target: RuntimeName = order.to
        move = machine.start(
            before,
            *(subsystem, standing.route.owner, target, plan, policy.as_json()),
            contract=contract.digest,
            auto=order.auto,
            change=self._change(standing, order.by, order.why),
        )
        self._check_target(contract, target)
        await self._check_plan(contract, plan)
        if not await self._write(standing, move, "start", fresh=True):
            await self._changed(subsystem)
        self._moving.add(subsystem)
        return await self.status(subsystem)

    def _check_target(self, contract: Contract, target: RuntimeName) -> None:
        """Refuse a candidate that cannot answer, now or ever."""
        name = contract.name
        there = self._implementations().get(name, RUNTIMES)
        if target not in there:
            raise refused(
                f"{target} has no implementation of {name}, expected one of {', '.join(there)}",
                expected=list(there),
            )
        runtime = self._runtimes.get(target)
        if runtime is None or not runtime.available(name):
            raise refused(
                f"{target} cannot be reached for {name} now, or not with contract "
                f"{name}@{contract.version}: `bridge doctor` says more"
            )

    async def _check_plan(self, contract: Contract, plan: Sequence[Step]) -> None:
        if contract.assign != "key":
            return
        shares = [step.share for step in plan if step.phase == "canary"]
        counts = await self._moved(contract.name, shares)
        if shares and not any(counts.values()):
            raise refused(
                f"{contract.name} is assigned by key, and no share of this plan moves one: "
                f"{_shares(counts)}. Take a larger one"
            )

    async def _passing(self, move: Move) -> int:
        """Count the next steps of the plan that would move nothing more than is moved now."""
        if self._registry.get(move.subsystem).assign != "key":
            return 0
        ahead = [step.share for step in move.plan[move.step + 1 :]]
        counts = await self._moved(move.subsystem, [move.share, *ahead])
        passing = 0
        while passing < len(ahead) and counts[ahead[passing]] == counts[move.share]:
            passing += 1
        return passing

    async def _moved(self, subsystem: str, shares: Collection[int]) -> dict[int, int]:
        keys = (await self._journal.keys(subsystem))[:MOST_KEYS]
        counts = dict.fromkeys(shares, 0)
        for n in range(0, len(keys), 500):
            for share in counts:
                counts[share] += moved_keys(subsystem, keys[n : n + 500], share)
            await asyncio.sleep(0)
        return counts

    # -- what the evidence does ------------------------------------------------------------
    def noted(self, subsystem: str) -> None:
        """Judge a move soon: there is more evidence."""
        self._due.add(subsystem)
        self._noted.set()

    async def run(self) -> None:
        """Judge the moves that run, as more evidence comes and by and by, until cancelled."""
        said: dict[str, str] = {}
        loop = asyncio.get_running_loop()
        turn_at = loop.time() + EVERY_S * random.uniform(0, 1)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(turn_at):
                    await self._noted.wait()
            self._noted.clear()
            due, self._due = self._due, set()
            if loop.time() >= turn_at:  # also of those a busy one would keep from it
                due |= self._moving | set(self._turn.next())
                turn_at = loop.time() + EVERY_S * random.uniform(0.8, 1)
            for subsystem in due & set(self._registry.names()):
                try:
                    await self.judge(subsystem)
                    said.pop(subsystem, None)
                except BridgeError as error:
                    if said.get(subsystem) != error.code:
                        said[subsystem] = error.code
                        text = str(error)
                        self._telemetry.emit("move_waits", subsystem=subsystem, text=text)
                except Exception as error:  # what cannot be read must not end the worker
                    self._telemetry.emit("defect", where="moves", text=text_of(error))

    async def judge(self, subsystem: str) -> None:
        """Take the move back, or promote it, if its evidence says so."""
        looked = await self._look(subsystem)
        move = looked.move
        if move is None or not move.moving:
            self._moving.discard(subsystem)
            return
        self._moving.add(subsystem)
        contract = self._registry.get(subsystem)
        if contract.digest != move.contract:
            why = f"the contract is another one than {move.contract[:8]}, with which it began"
            await self._apply(looked, "rollback", BRIDGE, why)
            return
        verdict = looked.verdict(move)
        why = "; ".join(verdict.reasons)
        if verdict.outcome == "fail" and (verdict.urgent or move.auto or move.phase == "canary"):
            if await self._apply(looked, "rollback", BRIDGE, why):
                self._telemetry.emit("rolled_back", subsystem=subsystem, text=why)
        elif verdict.outcome == "pass" and move.auto and not move.held:
            passing = await self._passing(move)
            if await self._apply(looked, "promote", BRIDGE, why, passing):
                self._telemetry.emit("promoted", subsystem=subsystem, text=why)

    # -- what is told ----------------------------------------------------------------------
    async def statuses(self) -> list[dict[str, JSON]]:
        """Return the status of every subsystem that a move is known of."""
        found = []
        for route in await self._journal.routes():
            status = await self.status(route.subsystem)
            if status["move"] is not None:
                found.append(status)
        return found

    async def status(self, subsystem: str) -> dict[str, JSON]:
        """Return where a subsystem stands, what its move has seen, and what that says."""
        looked = await self._look(subsystem)
        route, move, evidence = looked.standing.route, looked.move, looked.evidence
        status: dict[str, JSON] = {
            "subsystem": subsystem,
            "owner": route.owner,
            "phase": route.phase,
            "epoch": route.epoch,
            "now_ms": looked.standing.now_ms,
            "move": None,
        }
        if move is None:
            return status
        rate = await self._per_second(subsystem, looked.standing.now_ms)
        status |= report(
            move, evidence, looked.accepted, looked.standing.now_ms, looked.verdict(move), rate
        )
        return status

    async def history(self, subsystem: str) -> list[dict[str, JSON]]:
        self._registry.get(subsystem)
        return await self._journal.moves.history(subsystem)

    async def _per_second(self, subsystem: str, now_ms: int) -> float:
        """Return the commands a second of late, as the journal has them."""
        recent = await self._journal.recent(subsystem, RECENT)
        found = [at_ms for at_ms in recent if at_ms > now_ms - RECENT_MS]
        return len(found) / max(0.1, (now_ms - found[-1]) / 1000) if found else 0.0

    # -- inside ----------------------------------------------------------------------------
    async def _look(self, subsystem: str) -> _Looked:
        moves = self._journal.moves
        standing = await moves.standing(subsystem)
        move = Move.of_json(standing.move) if standing.move else None
        evidence, accepted = Evidence(), list[Accepted]()
        if move is not None:
            found = Evidence.of_hash(await moves.evidence(subsystem))
            if found.texts.get("move") == move.id:
                evidence = found
            accepted = [Accepted(**each) for each in await moves.accepted(subsystem)]
        return _Looked(standing, move, evidence, accepted)

    async def _apply(
        self, looked: _Looked, event: Event, by: str, why: str, passing: int = 0
    ) -> bool:
        assert looked.move is not None
        change = self._change(looked.standing, by, why)
        move = machine.step(looked.move, event, change, passing=passing)
        return await self._write(looked.standing, move, event, before=looked)

    async def _write(
        self,
        standing: Standing,
        move: Move,
        event: Event,
        *,
        before: _Looked | None = None,
        fresh: bool = False,
    ) -> bool:
        route = Route(
            subsystem=move.subsystem,
            owner=move.owner,
            fallback=standing.route.fallback,
            epoch=move.epoch,
            changed_ms=move.changed_ms,
            phase=move.phase,
            candidate=move.target if move.moving else None,
            share=move.share,
        )
        entry: dict[str, JSON] = {
            "event": event,
            "phase": move.phase,
            "stage": str(move),
            "from": move.source,
            "to": move.target,
            "share": move.share,
            "by": move.by,
            "why": move.why,
        }
        if before is not None and before.move is not None:
            evidence = before.evidence
            entry["compared"] = evidence.compared
            entry["different"] = evidence.different(before.accepted, standing.now_ms)
        return await self._journal.moves.change(route, move.as_json(), entry, fresh=fresh)

    def _change(self, standing: Standing, by: str, why: str) -> Change:
        return Change(standing.route.epoch + 1, standing.now_ms, by[:100], why[:1000])

    async def _changed(self, subsystem: str) -> None:
        """Refuse what somebody else was faster with."""
        history = await self._journal.moves.history(subsystem)
        last = history[-1] if history else {}
        raise refused(
            f"{subsystem} changed meanwhile: {last.get('by') or 'somebody'} made it "
            f"{last.get('stage') or last.get('phase')} ({last.get('event')}). Nothing was done",
            last=last,
        )


def _shares(counts: Mapping[int, int]) -> str:
    return ", ".join(f"{share} % is {count} keys" for share, count in counts.items())
