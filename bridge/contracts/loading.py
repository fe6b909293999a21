"""A contract file read, and refused with file, pointer and rule if it cannot hold."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs

from bridge.canonical import canonical, escape
from bridge.contracts.contract import Activity, Contract, Retry
from bridge.contracts.contract import Operation as LoadedOperation
from bridge.contracts.files import META, read_json, read_with_digest
from bridge.contracts.generated.subsystem import Activity as DeclaredActivity
from bridge.contracts.generated.subsystem import Operation, SubsystemFile
from bridge.contracts.subset import Fault, Subset
from bridge.contracts.validation import BadSchema, CompiledSchema, place_of, pointer_of, resolve
from bridge.errors import ContractBroken
from bridge.message import JSON, PRESENCE, RESERVED_MEMBERS, RESERVED_NAMES
from bridge.moves.comparison import Rules

FILE_NAME = "subsystem.json"
# Channels' own events; a client could not tell ours from them.
_RESERVED = ("phx_", "presence_")


def load_contract(file: Path) -> Contract:
    """Read one subsystem.json. Raises ContractBroken at the first fault."""
    document, digest = read_with_digest(file)
    contract = contract_of(file, document, digest)
    if file.parent.name != contract.name:
        what = f"expected the folder's name {file.parent.name!r}, got {contract.name!r}"
        raise ContractBroken(str(file), "/name", "name", what)
    return contract


def contract_of(file: Path, document: Any, digest: str = "") -> Contract:
    """Return the contract of a file that was read. Raises ContractBroken at the first fault."""
    require_shape(file, document, "subsystem.schema.json")
    parsed = SubsystemFile.model_validate(document)
    return _Loading(file, document, digest, parsed).contract()


def require_shape(file: Path, document: Any, meta: str) -> None:
    """Hold a file to its meta schema. Raises ContractBroken."""
    violation = _meta(meta).violation(document)
    if violation is not None:
        text = f"expected {violation.expected}, got {violation.actual}"
        got = resolve(document, violation.pointer)
        if violation.rule == "enum" and isinstance(got, str):
            text = _not_among(got, [word for word in violation.expected if word is not None])
        raise ContractBroken(str(file), violation.pointer, violation.rule, text)


@cache
def subset() -> Subset:
    """Return the lint, its data read once."""
    return Subset(read_json(META / "subset.json"))


@cache
def effect_schemas() -> Mapping[str, CompiledSchema]:
    """Return the closed list of effects: kind to schema."""
    definitions = read_json(META / "effects.schema.json")["$defs"]
    schemas = {}
    for alternative in definitions["Effect"]["oneOf"]:
        schema = definitions[alternative["$ref"].removeprefix("#/$defs/")]
        kind = schema["properties"]["effect"]["const"]
        schemas[kind] = CompiledSchema(f"effect {kind}", schema, definitions)
    return schemas


@cache
def _meta(name: str) -> CompiledSchema:
    schema = read_json(META / name)
    return CompiledSchema(name, schema, schema.get("$defs", {}))


class _Loading:
    """The checks of one file, in the order in which their faults help most."""

    def __init__(
        self, file: Path, document: Mapping[str, Any], digest: str, parsed: SubsystemFile
    ) -> None:
        self.file = file
        self.digest = digest
        self.document = document
        self.parsed = parsed
        self.definitions: Mapping[str, Any] = parsed.field_defs
        self.label = f"{parsed.name}@{parsed.version}"

    def contract(self) -> Contract:
        parsed = self.parsed
        self.check_names()
        for pointer, schema in self.schemas():
            self.check_json_schema(pointer, schema)
        self.check_subset()
        state = self.compiled("/state", parsed.state, "state")
        self.check_initial_state(state)
        return Contract(
            name=parsed.name,
            version=parsed.version,
            summary=parsed.summary,
            owner=parsed.owner,
            fallback=parsed.fallback,
            assign=parsed.assign,
            timeout_ms=parsed.timeout_ms,
            max_state_bytes=parsed.max_state_bytes,
            initial_state=parsed.initial_state,
            migrates_from=self.migrates_from(),
            digest=self.digest,
            operations={
                name: self.operation(name, operation)
                for name, operation in parsed.operations.items()
            },
            events={
                name: self.compiled(f"/events/{escape(name)}", schema, f"event {name}")
                for name, schema in parsed.events.items()
            },
            state=state,
            effects=effect_schemas(),
            compare=Rules.of_json(self.document.get("compare", {}), self.names()),
            activities={
                name: self.activity(name, activity)
                for name, activity in parsed.activities.items()
            },
            calls=frozenset(called.root for called in parsed.calls),
            presence=self.presence(),
        )

    def names(self) -> frozenset[str]:
        """Return every member that a schema of an outcome declares."""
        names = {"reply", "effects", "state", "refused", "reason", "message", "detail"}
        effects = read_json(META / "effects.schema.json")["$defs"].values()
        for schema in [*effects, *(schema for _, schema in self.schemas())]:
            for _, node in subset().reachable(schema, "", {}):
                names |= node.get("properties", {}).keys()
        return frozenset(names)

    def schemas(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield every schema written in the file, with its pointer."""
        for name, schema in self.definitions.items():
            yield f"/$defs/{escape(name)}", schema
        yield "/state", self.parsed.state
        for name, operation in self.parsed.operations.items():
            yield f"/operations/{name}/request", operation.request
            yield f"/operations/{name}/reply", operation.reply
        for name, schema in self.parsed.events.items():
            yield f"/events/{escape(name)}", schema
        for name, activity in self.parsed.activities.items():
            yield f"/activities/{name}/request", activity.request
            yield f"/activities/{name}/reply", activity.reply

    def migrates_from(self) -> int:
        """Return the oldest version that is migrated from; this one: no state is."""
        oldest, version = self.parsed.migrates_from, self.parsed.version
        if oldest is None:
            return version
        if oldest >= version:
            what = f"expected a version before {version}, got {oldest}"
            raise self.broken("/migrates_from", "migrates_from", what)
        return oldest

    def presence(self) -> bool:
        """Say whether clients see who is there; the operation that is told may be no other."""
        told = self.parsed.operations.get(PRESENCE)
        if self.parsed.presence and told and (told.kind != "command" or not told.internal):
            what = "expected an internal command: the bridge tells it who is there"
            raise self.broken(f"/operations/{PRESENCE}", "presence", what)
        return self.parsed.presence

    def check_names(self) -> None:
        if self.parsed.name in RESERVED_NAMES:
            text = f"{' and '.join(RESERVED_NAMES)} are the bridge's own: take another name"
            raise self.broken("/name", "reserved", text)
        for member in ("operations", "events"):
            for name in self.document.get(member, {}):
                if name.startswith(_RESERVED):
                    raise self.broken(
                        f"/{member}/{escape(name)}",
                        "reserved",
                        f"names beginning with {' or '.join(_RESERVED)} are Channels' own",
                    )

    def check_json_schema(self, pointer: str, schema: Mapping[str, Any]) -> None:
        """Hold a schema to 2020-12's own meta schema: the lint takes shapes for granted."""
        error = next(iter(_DRAFT.iter_errors(schema)), None)
        if error is not None:
            place = place_of(schema, error)
            at = pointer + pointer_of(place)
            text = error.message.splitlines()[0]
            if error.kind.name == "anyOf" and place[-1:] == ["type"]:
                got = error.instance if isinstance(error.instance, list) else [error.instance]
                wrong = [word for word in got if isinstance(word, str) and word not in _TYPES]
                text = _not_among(wrong[0], _TYPES) if wrong else text
            raise self.broken(at, error.kind.name, text)

    def check_subset(self) -> None:
        requests = {
            _definition(operation.request) for operation in self.parsed.operations.values()
        }
        faults: list[Fault] = []
        for pointer, schema in self.schemas():
            request = pointer.endswith("/request") or pointer in requests
            faults += subset().lint(schema, pointer, self.definitions, request=request)
        # A `$ref` that leads nowhere first: what it should name may look wrong without it.
        for fault in sorted(faults, key=lambda fault: fault.rule != "ref"):
            raise self.broken(fault.pointer, fault.rule, fault.message)
        for pointer, schema in self.schemas():
            if pointer == "/state" or pointer.endswith("/reply") or pointer.startswith("/events"):
                for fault in subset().floats(schema, pointer, self.definitions):
                    raise self.broken(fault.pointer, fault.rule, fault.message)

    def check_initial_state(self, state: CompiledSchema) -> None:
        initial = self.parsed.initial_state
        self.require(state, initial, "/initial_state")
        size = len(canonical(initial))
        if size > self.parsed.max_state_bytes:
            raise self.broken(
                "/initial_state",
                "max_state_bytes",
                f"expected at most {self.parsed.max_state_bytes} bytes, got {size}",
            )

    def operation(self, name: str, operation: Operation) -> LoadedOperation:
        at = f"/operations/{name}"
        if operation.kind == "query":
            for member in ("effects", "idempotency"):
                if getattr(operation, member):
                    raise self.broken(f"{at}/{member}", "query", "a query changes nothing")
        if "call" in operation.effects and not (self.parsed.activities or self.parsed.calls):
            raise self.broken(
                f"{at}/effects",
                "call",
                "`call` needs an activity in /activities, or a subsystem's name in /calls",
            )
        if "emit" in operation.effects and not self.parsed.events:
            raise self.broken(f"{at}/effects", "events", "`emit` needs an event in /events")
        shape, where = self.request_shape(operation, f"{at}/request")
        label = f"{name} request"
        loaded = LoadedOperation(
            name=name,
            where=f"{self.label} {name}",
            summary=operation.summary,
            kind=operation.kind,
            internal=operation.internal,
            content_type=operation.content_type,
            effects=frozenset(operation.effects),
            errors=tuple(reason.root for reason in operation.errors),
            idempotency=operation.idempotency,
            request=self.compiled(f"{at}/request", operation.request, label),
            reply=self.compiled(f"{at}/reply", operation.reply, f"{name} reply"),
            defaults=self.defaults(shape, where),
        )
        self.check_idempotency(operation, shape, f"{at}/idempotency")
        if operation.content_type is not None:
            self.require(loaded.request, {"base64": ""}, f"{at}/content_type")
        return loaded

    def activity(self, name: str, activity: DeclaredActivity) -> Activity:
        at, retry = f"/activities/{name}", activity.retry
        return Activity(
            name=name,
            runtime=activity.runtime,
            summary=activity.summary,
            request=self.compiled(f"{at}/request", activity.request, f"{name} request"),
            reply=self.compiled(f"{at}/reply", activity.reply, f"{name} reply"),
            retry=Retry(**retry.model_dump()) if retry else Retry(),
            timeout_ms=activity.timeout_ms,
            heartbeat_ms=activity.heartbeat_ms or 0,
            concurrency=activity.concurrency,
        )

    def request_shape(self, operation: Operation, at: str) -> tuple[Mapping[str, Any], str]:
        """Return the object schema behind a request, and where it is written."""
        shape: Mapping[str, Any] = operation.request
        while "$ref" in shape:
            at = _definition(shape)
            shape = resolve(self.document, at)
        if shape.get("type") != "object":
            raise self.broken(
                f"{at}/type",
                "request",
                'expected "type": "object": a push\'s payload is an object',
            )
        for member in RESERVED_MEMBERS:
            if member in shape.get("properties", {}):
                raise self.broken(
                    f"{at}/properties/{member}",
                    "reserved",
                    f"`{member}` in a payload is the bridge's own: docs/protocol.md",
                )
        return shape, at

    def defaults(self, shape: Mapping[str, Any], at: str) -> Mapping[str, JSON]:
        defaults = {}
        for name, schema in shape.get("properties", {}).items():
            if isinstance(schema, Mapping) and "default" in schema:
                pointer = f"{at}/properties/{escape(name)}"
                compiled = self.compiled(pointer, schema, f"default of {name}")
                self.require(compiled, schema["default"], f"{pointer}/default")
                defaults[name] = schema["default"]
        return defaults

    def check_idempotency(self, operation: Operation, shape: Mapping[str, Any], at: str) -> None:
        if operation.idempotency is None:
            return
        first = operation.idempotency.split("/")[1]
        if first not in shape.get("properties", {}):
            raise self.broken(at, "pointer", f"the request declares no member {first!r}")

    def compiled(self, pointer: str, schema: Mapping[str, Any], what: str) -> CompiledSchema:
        try:
            return CompiledSchema(f"{self.label} {what}", schema, self.definitions)
        except BadSchema as error:
            # The compiler saw the schema with the file's `$defs` put inside.
            below = pointer_of(error.path)
            at = below if below.startswith("/$defs/") else pointer + below
            raise self.broken(at, error.rule, error.message) from None

    def require(self, schema: CompiledSchema, value: JSON, at: str) -> None:
        violation = schema.violation(value, at)
        if violation is not None:
            raise self.broken(
                violation.pointer,
                violation.rule,
                f"expected {violation.expected}, got {violation.actual} ({schema.contract})",
            )

    def broken(self, pointer: str, rule: str, message: str) -> ContractBroken:
        return ContractBroken(str(self.file), pointer, rule, message)


_DRAFT = jsonschema_rs.Draft202012Validator(
    {"$ref": "https://json-schema.org/draft/2020-12/schema"}, offline=True
)


# As the dialect's own meta schema has them.
_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")


def _not_among(got: str, allowed: Collection[str]) -> str:
    """Say what is allowed, the likeliest meant first."""
    nearest = sorted(allowed, key=lambda word: -SequenceMatcher(None, got, word).ratio())
    return f"expected one of {', '.join(nearest)}, got {got!r}"


def _definition(schema: Mapping[str, Any]) -> str:
    return str(schema.get("$ref", "")).removeprefix("#")
