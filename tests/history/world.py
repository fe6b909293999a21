"""A bridge in miniature that keeps its promises, with clients who record what they see."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from bridge.history import Evidence, Finding, check
from bridge.history.evidence import FindingKind
from bridge.journal.records import timer_body
from bridge.journal.values import OutboxEntry, Route, Timer
from bridge.message import JSON, Context, RuntimeName, Version, context_for, derived_id

INITIAL = {"total": 0}
RUNTIMES: list[RuntimeName] = ["python", "typescript", "elixir"]


def handle(
    state: JSON, operation: str, request: JSON, context: Context
) -> tuple[JSON, list[dict[str, JSON]], JSON]:
    """Count, with one effect of each kind."""
    if operation == "total":
        return {"total": state["total"]}, [], state
    if operation == "forget":
        return {}, [{"effect": "cancel", "id": "later"}], state
    if operation == "later":
        timer = {
            "effect": "schedule",
            "id": "later",
            "at_ms": context.now_ms + request["n"],
            "operation": "add",
            "request": {"n": request["n"]},
        }
        return {}, [timer], state
    if operation == "ask":
        asked: dict[str, JSON] = {"effect": "call", "id": "later", "to": "sum", "request": {}}
        return {}, [{**asked, "then": "told", "timeout_ms": request["n"]}], state
    if operation == "told":
        return {}, [], state
    total = state["total"] + request["n"]
    payload = {"n": request["n"], "total": total}
    name = f"{context.message_id}/mail"
    effects = [
        {"effect": "emit", "type": "tally.added", "payload": payload},
        {"effect": "inngest", "name": "tally/added", "data": payload, "id": name},
    ]
    return {"total": total}, effects, {"total": total}


@dataclass
class Client:
    name: str
    connection: int = 1
    attempts: dict[str, int] = field(default_factory=dict)
    open: dict[str, tuple[str, JSON]] = field(default_factory=dict)  # unanswered, by id
    wire: deque[tuple[int, str, str, JSON]] = field(default_factory=deque)
    position: int = 0  # in the event stream
    joined: bool = False


@dataclass
class World:
    """Take random steps on key `k`, then settle. `lines` and `evidence()` are then correct."""

    random: Random
    clients: list[Client] = field(default_factory=lambda: [Client("ann"), Client("bob")])
    lines: list[dict[str, Any]] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)
    done: dict[str, dict[str, Any]] = field(default_factory=dict)
    tokens: dict[str, dict[str, Any]] = field(default_factory=dict)
    stream: list[tuple[int, int, dict[str, Any]]] = field(default_factory=list)
    outbox: deque[OutboxEntry] = field(default_factory=deque)
    executed: list[dict[str, Any]] = field(default_factory=list)
    timer: Timer | None = None
    state: JSON = field(default_factory=lambda: dict(INITIAL))
    routes: list[Route] = field(
        default_factory=lambda: [Route("tally", "python", "typescript", 1, 0)]
    )
    at: int = 1000
    sent: int = 0

    def run(self, steps: int) -> World:
        for client in self.clients:
            self.join(client, resumed=False)
        choices: list[Callable[[], None]] = [
            self.send,
            self.send,
            self.work,
            self.work,
            self.push,
            self.reconnect,
            self.resend,
            self.route,
            self.fire,
            self.execute,
        ]
        for _ in range(steps):
            self.random.choice(choices)()
        while any(client.open or client.wire for client in self.clients):
            self.resend()
            self.work(faults=False)
        while len(self.outbox) > 1:  # one may wait on
            self.execute()
        for client in self.clients:
            if not client.joined:
                self.join(client, resumed=True)
            self.deliver(client, len(self.stream))
        return self

    def record(self, event: str, client: Client, **members: Any) -> None:
        self.at += 1
        self.lines.append({"event": event, "at": self.at, "client": client.name, **members})

    def join(self, client: Client, *, resumed: bool) -> None:
        client.joined = True
        if not resumed:
            client.position = len(self.stream)
        self.record("joined", client, topic="tally:k", resumed=resumed)

    def send(self) -> None:
        client = self.random.choice(self.clients)
        self.sent += 1
        operation = self.random.choice(["add", "add", "once", "later", "forget", "total"])
        request: dict[str, JSON] = {} if operation in ("forget", "total") else {"n": self.sent}
        if operation == "once":
            request["token"] = self.random.choice("xyz")
            request["n"] = ord(request["token"])
        client.open[f"m{self.sent}"] = (operation, request)
        self.attempt(client, f"m{self.sent}")

    def attempt(self, client: Client, message_id: str) -> None:
        operation, request = client.open[message_id]
        n = client.attempts[message_id] = client.attempts.get(message_id, 0) + 1
        client.wire.append((n, message_id, operation, request))
        self.record(
            "sent",
            client,
            connection=client.connection,
            message_id=message_id,
            attempt=n,
            topic="tally:k",
            operation=operation,
            request=request,
        )

    def resend(self) -> None:
        client = self.random.choice(self.clients)
        waiting = {message_id for _, message_id, _, _ in client.wire}
        for message_id in client.open:
            if message_id not in waiting:
                self.attempt(client, message_id)

    def reconnect(self) -> None:
        client = self.random.choice(self.clients)
        client.wire.clear()
        client.connection += 1
        self.record("left", client, topic="tally:k")
        client.joined = False
        # Some events of the last batch were lost with the socket, or come once more.
        client.position = max(0, client.position - self.random.randint(0, 2))
        if self.random.random() < 0.8:
            self.join(client, resumed=self.random.random() < 0.9)

    def work(self, *, faults: bool = True) -> None:
        """Handle the oldest push of one client; answer, deny, or lose the answer."""
        client = self.random.choice(self.clients)
        if not client.wire:
            return
        n, message_id, operation, request = client.wire.popleft()
        luck = self.random.random() if faults else 1.0
        if luck < 0.1:
            self.told(client, message_id, n, "error", {"code": "overloaded"})
            return
        if operation == "total":
            reply = {"total": self.state["total"]}
        else:
            reply = self.commit(message_id, operation, request)["reply"]
        if luck < 0.2:
            self.told(client, message_id, n, "error", {"code": "outcome_unknown"})
        elif luck > 0.3:
            self.told(client, message_id, n, "ok", reply)
            client.open.pop(message_id, None)

    def told(self, client: Client, message_id: str, n: int, outcome: str, reply: JSON) -> None:
        self.record(
            "told", client, message_id=message_id, attempt=n, outcome=outcome, reply=reply
        )

    def commit(
        self, message_id: str, operation: str, request: JSON, timer: str = ""
    ) -> dict[str, Any]:
        earlier = self.done.get(message_id) or self.tokens.get(request.get("token", ""))
        if earlier is not None:
            return earlier
        self.at += 1
        context = context_for(message_id, self.at, self.at + 100, "UTC", "k")
        reply, effects, self.state = handle(self.state, operation, request, context)
        route, seq = self.routes[-1], len(self.entries) + 1
        standing_in = self.random.random() < 0.2
        entry: dict[str, Any] = {
            "id": message_id,
            "key": "k",
            "seq": seq,
            "operation": operation,
            "request": request,
            "context": context.as_json(),
            "reply": reply,
            "effects": effects,
            "state": self.state,
            "epoch": route.epoch,
            "at_ms": self.at,
            "runtime": route.fallback if standing_in else route.owner,
            "reason": "fallback" if standing_in else "owner",
        }
        if timer:
            entry["timer"] = timer
            self.timer = None
        self.entries.append(entry)
        self.done[message_id] = entry
        if operation == "once":
            self.tokens[request["token"]] = entry
        for n, effect in enumerate(effects):
            self.keep(entry, n, effect)
        return entry

    def keep(self, entry: dict[str, Any], n: int, effect: dict[str, Any]) -> None:
        name = f"{entry['id']}/{n}"
        match effect["effect"]:
            case "emit":
                self.stream.append((entry["seq"], n, effect))
            case "inngest":
                self.outbox.append(
                    OutboxEntry(name, "k", "tally", "k", "inngest", effect, entry["at_ms"])
                )
            case "schedule" | "call":
                body = timer_body(name, effect, entry["at_ms"])
                self.timer = Timer("tally", "k", **body)
            case "cancel":
                self.timer = None

    def push(self) -> None:
        client = self.random.choice(self.clients)
        if client.joined:
            self.deliver(client, self.random.randint(client.position, len(self.stream)))

    def deliver(self, client: Client, position: int) -> None:
        for seq, n, effect in self.stream[client.position : position]:
            self.record(
                "pushed",
                client,
                topic="tally:k",
                type=effect["type"],
                payload=effect["payload"],
                seq=seq,
                n=n,
            )
        client.position = max(client.position, position)

    def route(self) -> None:
        owner, fallback = self.random.sample(RUNTIMES, 2)
        self.routes.append(Route("tally", owner, fallback, len(self.routes) + 1, self.at))

    def fire(self) -> None:
        if self.timer is not None and self.timer.due_ms <= self.at:
            name = derived_id(self.timer.set_by, f"timer/{self.timer.id}")
            self.commit(name, self.timer.operation, self.timer.request, timer=self.timer.id)

    def execute(self) -> None:
        """Deliver the oldest effect; at times the answer is lost and it comes again."""
        if self.outbox:
            effect = self.outbox[0].effect
            self.executed.append({name: effect[name] for name in ("name", "data", "id")})
            if self.random.random() < 0.8:
                self.outbox.popleft()

    def evidence(self) -> Evidence:
        last = self.entries[-1] if self.entries else None
        return Evidence(
            subsystem="tally",
            entries=self.entries,
            states={"k": (Version(last["seq"], last["id"]), last["state"])} if last else {},
            routes=self.routes,
            outbox=list(self.outbox),
            timers=[self.timer] if self.timer else [],
            initial_state=INITIAL,
            queries=frozenset({"total"}),
            idempotency=lambda operation, request: request.get("token"),
        )

    def check(self, evidence: Evidence | None = None, **options: Any) -> list[Finding]:
        return check(
            self.lines,
            evidence or self.evidence(),
            executed={"inngest": self.executed},
            **{"settled": True, "handler": handle, **options},
        )


def kinds(findings: list[Finding]) -> set[FindingKind]:
    return {finding.kind for finding in findings}


def line(world: World, event: str, nth: int = 0, **members: Any) -> dict[str, Any]:
    return [
        each
        for each in world.lines
        if each["event"] == event and all(each[name] == m for name, m in members.items())
    ][nth]
