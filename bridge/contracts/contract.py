"""A contract in use: what a request must be, and what an implementation may answer. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

from bridge.canonical import canonical, json_type, normalise
from bridge.contracts.validation import CompiledSchema, resolve
from bridge.errors import BridgeError, InvalidRequest, Refusal, RuntimeFault, Violation, legible
from bridge.message import (
    JSON,
    MIGRATION,
    PRESENCE,
    Context,
    Invocation,
    Judge,
    Kind,
    Outcome,
    RuntimeName,
)
from bridge.moves.comparison import Rules

ActivityRuntimeName = Literal["python", "typescript", "elixir", "http", "inngest"]
MAX_KEY_LENGTH = 200
_CONTROL = re.compile("[\x00-\x1f\x7f]")
MAX_EFFECTS = 1000


@dataclass(frozen=True, slots=True)
class Operation:
    """Something a subsystem can be asked."""

    name: str
    where: str  # "heartbeat@1 tick", what violations begin with
    summary: str
    kind: Kind
    internal: bool
    content_type: str | None
    effects: frozenset[str]
    errors: tuple[str, ...]
    idempotency: str | None
    request: CompiledSchema
    reply: CompiledSchema
    defaults: Mapping[str, JSON]

    def check_request(self, value: JSON, pointer: str = "") -> JSON:
        """Return the request as every runtime gets it: normalised, defaults filled in.

        `pointer` is where it stands in what errors are about. Raises InvalidRequest, or what
        `normalise` raises.
        """
        if self.defaults and type(value) is dict:
            value = {**self.defaults, **value}
        value = normalise(value, pointer)
        violation = self.request.violation(value, pointer)
        if violation is not None:
            raise InvalidRequest(violation)
        return value

    def asked(self, request: JSON) -> JSON:
        """Return what of a request differs from the defaults: that makes it the same again.

        So it stays the same when a later version has more members with defaults.
        """
        return {
            name: value
            for name, value in request.items()
            if name not in self.defaults or canonical(self.defaults[name]) != canonical(value)
        }

    def idempotency_value(self, request: JSON) -> JSON | None:
        """Return what makes two requests the same one, None if nothing in this one does."""
        return None if self.idempotency is None else resolve(request, self.idempotency)

    def check_refusal(self, refusal: Refusal, runtime: str) -> Refusal:
        """Return a handler's refusal as every runtime would give it.

        Raises RuntimeFault if its reason is not declared or its detail is no JSON. Its message
        is for people: what is no text in it is mended.
        """
        reason, where = refusal.reason, f"{self.where} refusal"
        if type(reason) is not str or reason not in self.errors:
            came = legible(reason) if type(reason) is str else json_type(reason)
            raise _broken(runtime, f"{self.where} errors", "", "enum", list(self.errors), came)
        if type(refusal.message) is not str:
            came = json_type(refusal.message)
            raise _broken(runtime, where, "/message", "type", "string", came)
        detail = _normalised(runtime, where, refusal.detail)
        if type(detail) is not dict:
            raise _broken(runtime, where, "/detail", "type", "object", json_type(detail))
        return Refusal(reason, legible(refusal.message), **detail)


class Retry(NamedTuple):
    """How often a failed attempt is made again, and after which pauses."""

    max_attempts: int = 3
    initial_ms: int = 1000
    max_ms: int = 60_000
    factor: int = 2

    def pause_ms(self, attempts: int) -> int:
        """Return the longest pause after so many attempts."""
        return int(min(self.initial_ms * self.factor ** min(attempts - 1, 32), self.max_ms))


@dataclass(frozen=True, slots=True)
class Activity:
    """A function with the outside world in it, which `call` effects ask for."""

    name: str
    runtime: ActivityRuntimeName
    summary: str
    request: CompiledSchema
    reply: CompiledSchema
    retry: Retry
    timeout_ms: int  # of one attempt
    heartbeat_ms: int  # 0: it need not say anything
    concurrency: int  # in all workers and services together


@dataclass(frozen=True, slots=True)
class Contract:
    """What clients may ask of a subsystem and what its implementations may answer."""

    name: str
    version: int
    summary: str
    owner: RuntimeName
    fallback: RuntimeName | None
    assign: Literal["message", "key"]
    timeout_ms: int
    max_state_bytes: int
    initial_state: JSON
    migrates_from: int  # the oldest version whose states `migrate` takes; `version`: none
    digest: str
    operations: Mapping[str, Operation]
    events: Mapping[str, CompiledSchema]
    state: CompiledSchema
    effects: Mapping[str, CompiledSchema]  # by kind, the same for every contract
    compare: Rules  # two runtimes' outcomes, in a move
    activities: Mapping[str, Activity]
    calls: frozenset[str]  # subsystems that `call` may name
    presence: bool = False  # clients may say who they are, and see who is there

    @property
    def told_who_is_there(self) -> str:
        """Return the operation that is told who is there; empty if none is."""
        return PRESENCE if self.presence and PRESENCE in self.operations else ""

    def check_key(self, key: str) -> None:
        """Refuse what cannot be a key: empty, over 200 characters, control characters."""
        if not 1 <= len(key) <= MAX_KEY_LENGTH:
            raise _bad_key(self.name, f"a key of 1 to {MAX_KEY_LENGTH} characters", len(key))
        if found := _CONTROL.search(key):
            raise _bad_key(self.name, "no control characters", f"one at {found.start()}")

    def operation(self, name: str, *, internal: bool = False) -> Operation:
        """Return an operation; only `internal` callers get internal ones.

        Raises BridgeError `unknown_operation`, which lists what there is.
        """
        operation = self.operations.get(name)
        if operation is None or (operation.internal and not internal):
            known = [o.name for o in self.operations.values() if internal or not o.internal]
            raise BridgeError(
                "unknown_operation",
                f"{self.name} has no operation {name[:64]!r}, expected one of {', '.join(known)}",
                expected=known,
                actual=name[:64],
            )
        return operation

    def judge(self, operation: Operation, runtime: str) -> Judge:
        """Return `check_outcome` for one operation, as a runtime calls it."""
        return partial(self.check_outcome, operation, runtime=runtime)

    def check_outcome(self, operation: Operation, outcome: Outcome, runtime: str) -> Outcome:
        """Return an implementation's outcome normalised, held to everything the contract says.

        For a query only the reply comes back. Raises RuntimeFault `off_contract`, whose detail
        is the violation, or `not_serialisable`.
        """
        where = operation.where
        reply = _normalised(runtime, f"{where} reply", outcome.reply)
        _require(runtime, operation.reply.violation(reply))
        effects = _normalised(runtime, f"{where} effects", outcome.effects)
        if operation.kind == "query":
            if effects:
                raise _broken(
                    runtime,
                    f"{where} effects",
                    "",
                    "maxItems",
                    "none of a query",
                    f"{len(effects)}",
                )
            return Outcome(reply, [], build=outcome.build)
        self._check_effects(operation, effects, runtime, f"{where} effects")
        state = _normalised(runtime, f"{where} state", outcome.state)
        _require(runtime, self.state_violation(state))
        return Outcome(reply, effects, state, outcome.build)

    def state_violation(self, state: JSON) -> Violation | None:
        """Return which rule a normalised state breaks: the schema's, or the limit of its size."""
        violation = self.state.violation(state)
        if violation is not None:
            return violation
        size = len(canonical(state))
        if size <= self.max_state_bytes:
            return None
        told = self.max_state_bytes, f"{size} bytes"
        return Violation(self.state.contract, "", "max_state_bytes", *told)

    def check_migrated(self, outcome: Outcome, runtime: str) -> Outcome:
        """Return what `migrate` made of a state, normalised. Raises RuntimeFault, as for one."""
        state = _normalised(runtime, f"{self.name}@{self.version} migrate", outcome.state)
        _require(runtime, self.state_violation(state))
        return Outcome(None, [], state, outcome.build)

    def _check_effects(
        self, operation: Operation, effects: Any, runtime: str, where: str
    ) -> None:
        if type(effects) is not list:
            raise _broken(runtime, where, "", "type", "array", json_type(effects))
        if len(effects) > MAX_EFFECTS:
            raise _broken(runtime, where, "", "maxItems", MAX_EFFECTS, f"{len(effects)}")
        for n, effect in enumerate(effects):
            if type(effect) is not dict:
                raise _broken(runtime, where, f"/{n}", "type", "object", json_type(effect))
            kind = effect.get("effect")
            if type(kind) is not str or kind not in operation.effects:
                actual = repr(kind[:64]) if type(kind) is str else json_type(kind)
                allowed = sorted(operation.effects)
                raise _broken(runtime, where, f"/{n}/effect", "enum", allowed, actual)
            _require(runtime, self.effects[kind].violation(effect, f"/{n}"))
            match kind:
                case "emit":
                    self._check_event(effect, runtime, where, f"/{n}")
                case "schedule":
                    self._check_schedule(effect, runtime, where, f"/{n}")
                case "call":
                    self._check_call(effect, runtime, where, f"/{n}")

    def _check_event(self, effect: Mapping[str, Any], runtime: str, where: str, at: str) -> None:
        payload = self.events.get(effect["type"])
        if payload is None:
            raise _broken(
                runtime, where, f"{at}/type", "enum", sorted(self.events), repr(effect["type"])
            )
        _require(runtime, payload.violation(effect["payload"], f"{at}/payload"))

    def _check_schedule(
        self, effect: Mapping[str, Any], runtime: str, where: str, at: str
    ) -> None:
        operation = self._command(effect["operation"], runtime, where, f"{at}/operation")
        request = {**operation.defaults, **effect["request"]}
        _require(runtime, operation.request.violation(request, f"{at}/request"))

    def _check_call(self, effect: Mapping[str, Any], runtime: str, where: str, at: str) -> None:
        to, _, key = effect["to"].partition(":")
        if key:
            if to not in self.calls:
                raise _broken(runtime, where, f"{at}/to", "enum", sorted(self.calls), repr(to))
            if "operation" not in effect:
                raise _broken(runtime, where, at, "required", "operation", "none")
        else:
            activity = self.activities.get(effect["to"])
            if activity is None:
                named = sorted(self.activities)
                raise _broken(runtime, where, f"{at}/to", "enum", named, repr(effect["to"]))
            if "operation" in effect:
                raise _broken(runtime, where, f"{at}/operation", "false", "none", "string")
            _require(runtime, activity.request.violation(effect["request"], f"{at}/request"))
        then = self._command(effect["then"], runtime, where, f"{at}/then")
        # Whatever comes of it, this is what `then` is told if nothing does.
        _require(runtime, then.request.violation({**then.defaults, **timed_out(effect, "m/0")}))

    def _command(self, name: str, runtime: str, where: str, at: str) -> Operation:
        operation = self.operations.get(name)
        if operation is None or operation.kind != "command":
            commands = [o.name for o in self.operations.values() if o.kind == "command"]
            raise _broken(runtime, where, at, "enum", commands, repr(name))
        return operation


def call_id(effect: Mapping[str, Any], effect_id: str) -> str:
    """Return the name of a call on its key."""
    return str(effect.get("id", effect_id))


def answered(effect: Mapping[str, Any], effect_id: str, reply: JSON) -> dict[str, JSON]:
    """Return the request of `then` for a reply."""
    return {"id": call_id(effect, effect_id), "reply": reply}


def call_failed(
    effect: Mapping[str, Any],
    effect_id: str,
    code: str,
    message: str,
    *,
    retryable: bool = False,
    detail: Mapping[str, JSON] | None = None,
) -> dict[str, JSON]:
    """Return the request of `then` for what became of a call instead of a reply."""
    error = {"code": code, "message": message, "retryable": retryable, "detail": detail or {}}
    return {"id": call_id(effect, effect_id), "error": error}


def timed_out(effect: Mapping[str, Any], effect_id: str) -> dict[str, JSON]:
    """Return the request of `then` for a call nothing came of within its time."""
    text = f"{effect['to']}: no answer within {effect['timeout_ms']} ms"
    return call_failed(effect, effect_id, "timeout", text, retryable=True)


def migration_of(
    contract: Contract, state: JSON, version: int, context: Context, left_ms: int
) -> Invocation:
    """Return what a runtime is handed to migrate a state of an older version."""
    return Invocation(
        subsystem=contract.name,
        key=context.key,
        operation="migrate",
        kind=MIGRATION,
        request={"from_version": version},
        state=state,
        context=context,
        digest=contract.digest,
        timeout_ms=min(contract.timeout_ms, left_ms),
    )


def _normalised(runtime: str, what: str, value: Any) -> Any:
    try:
        return normalise(value)
    except BridgeError as error:
        raise RuntimeFault(
            runtime, "not_serialisable", f"{what}: {error.message}", contract=what, **error.detail
        ) from None


def _require(runtime: str, violation: Violation | None) -> None:
    if violation is not None:
        raise _off_contract(runtime, violation)


def _broken(
    runtime: str, contract: str, pointer: str, rule: str, expected: Any, actual: str
) -> RuntimeFault:
    return _off_contract(runtime, Violation(contract, pointer, rule, expected, actual))


def _off_contract(runtime: str, violation: Violation) -> RuntimeFault:
    return RuntimeFault(runtime, "off_contract", str(violation), **violation.as_detail())


def _bad_key(subsystem: str, expected: str, actual: Any) -> BridgeError:
    return BridgeError(
        "unknown_topic",
        f"{subsystem}: expected {expected}, got {actual}",
        expected=expected,
        actual=actual,
    )
