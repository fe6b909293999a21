"""What a changed contract breaks, and for whom: a table over two contract files. No I/O here.

Requests go from old clients to the new contract; replies and events from it to old readers, who
pass over members they do not know; stored states and timers are met by it as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bridge.canonical import canonical, escape
from bridge.contracts.cases import Excess, Schema
from bridge.contracts.inclusion import Inclusion

CLIENTS = "clients that send"
READERS = "readers of replies"
LISTENERS = "readers of events"
STATES = "live states"
TIMERS = "timers that are set"
GOING_BACK = "going back"


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is otherwise; not `breaking`: nobody who keeps to the old contract notices.

    `pointer` leads to it within the request, reply, payload or state.
    """

    subsystem: str
    where: str  # "operation tick", "event ran", "state", "contract"
    breaks: str  # for whom
    pointer: str
    rule: str
    message: str
    breaking: bool = True


class Compatibility:
    """Two contract files, read and each held to the subset already."""

    def __init__(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        """Take the parsed subsystem.json of each."""
        self.old, self.new = old, new
        self._migrated = (
            new.get("migrates_from", new["version"]) <= old["version"] < new["version"]
        )
        old_defs, new_defs = old.get("$defs", {}), new.get("$defs", {})
        self._to_new = Inclusion(old_defs, new_defs)
        self._to_old = Inclusion(new_defs, {n: as_read(s) for n, s in old_defs.items()})
        self._back = Inclusion(new_defs, old_defs)

    def changes(self) -> list[Change]:
        """Return what is otherwise, what breaks somebody first."""
        found = [change for rule in _TABLE for change in rule(self)]
        return sorted(found, key=lambda change: not change.breaking)

    # -- operations ----------------------------------------------------------------------------
    def operations(self) -> Iterator[Change]:
        old, new = self.old["operations"], self.new["operations"]
        for name in old.keys() - new.keys():
            for whom in self._asking(name):
                yield self._change(f"operation {name}", whom, "gone", "the operation is gone")
        for name in new.keys() - old.keys():
            yield self._note(f"operation {name}", "new", "the operation is new")

    def kinds(self) -> Iterator[Change]:
        for name, old, new in self._both():
            where = f"operation {name}"
            if old["kind"] != new["kind"]:
                text = f"the {old['kind']} became a {new['kind']}"
                yield self._change(where, CLIENTS, "kind", text)
            if new.get("internal") and not old.get("internal"):
                text = "only timers may ask it from now on"
                yield self._change(where, CLIENTS, "internal", text)
            if old.get("content_type") not in (None, new.get("content_type")):
                text = f"it took {old['content_type']} in binary frames"
                yield self._change(where, CLIENTS, "content_type", text)
            if old.get("idempotency") != new.get("idempotency"):
                text = "other requests than before count as the same one"
                yield self._change(where, CLIENTS, "idempotency", text)

    def requests(self) -> Iterator[Change]:
        for name, old, new in self._both():
            sent, taken = self._as_sent(old["request"], new["request"])
            excess = self._to_new.excess(sent, taken)
            for whom in self._asking(name):
                yield from self._each(f"operation {name}, request", whom, excess)
            defaults = _defaults(self.old, old["request"]), _defaults(self.new, new["request"])
            for member, value in defaults[0].items():
                now = defaults[1].get(member)
                if member in defaults[1] and canonical(value) != canonical(now):
                    text = f"left out, it was {_short(value)} and is {_short(now)}"
                    where = f"operation {name}, request"
                    yield self._note(where, "default", text, f"/{escape(member)}")

    def replies(self) -> Iterator[Change]:
        for name, old, new in self._both():
            where = f"operation {name}"
            if old.get("internal"):
                continue  # its replies go to nobody
            excess = self._to_old.excess(new["reply"], as_read(old["reply"]))
            yield from self._each(f"{where}, reply", READERS, excess)
            for reason in set(new.get("errors", ())) - set(old.get("errors", ())):
                yield self._note(where, "errors", f"it may refuse with {reason}")

    # -- events, state -------------------------------------------------------------------------
    def events(self) -> Iterator[Change]:
        old, new = self.old.get("events", {}), self.new.get("events", {})
        for name in old.keys() - new.keys():
            yield self._change(f"event {name}", LISTENERS, "gone", "the event is gone")
        for name in new.keys() - old.keys():
            yield self._note(f"event {name}", "new", "the event is new")
        for name in sorted(old.keys() & new.keys()):
            excess = self._to_old.excess(new[name], as_read(old[name]))
            yield from self._each(f"event {name}", LISTENERS, excess)

    def presence(self) -> Iterator[Change]:
        if self.old.get("presence") and not self.new.get("presence"):
            yield self._change(
                "contract", CLIENTS, "presence", "nobody sees who is there any more"
            )

    def states(self) -> Iterator[Change]:
        excess = self._to_new.excess(self.old["state"], self.new["state"])
        size = [each.get("max_state_bytes", 65536) for each in (self.old, self.new)]
        if size[1] < size[0]:
            text = f"they may have {size[0]} bytes, and {size[1]} are taken"
            excess = [*excess, Excess("", "max_state_bytes", text)]
        if excess and self._migrated:
            yield self._note("state", "migrates_from", "states are migrated")
        else:
            yield from self._each("state", STATES, excess)

    def going_back(self) -> Iterator[Change]:
        """Who still runs the old contract, or takes it up again, meets states of the new one."""
        versions = self.old["version"], self.new["version"]
        if versions[1] < versions[0]:
            text = f"version {versions[1]} comes after {versions[0]}: states of that are refused"
            yield self._change("contract", STATES, "version", text)
        elif versions[1] == versions[0]:
            excess = self._back.excess(self.new["state"], self.old["state"])
            for each in self._each("state", GOING_BACK, excess):
                text = f"{each.message}; the same version reads it: make it {versions[1] + 1}"
                yield Change(**{**_members(each), "message": text})
        else:
            text = f"version {versions[0]} refuses states that version {versions[1]} wrote"
            yield self._note("contract", "version", text)

    # -- helpers -------------------------------------------------------------------------------
    def _both(self) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
        old, new = self.old["operations"], self.new["operations"]
        for name in sorted(old.keys() & new.keys()):
            yield name, old[name], new[name]

    def _asking(self, name: str) -> list[str]:
        """Return who asks an operation of the old contract."""
        operation = self.old["operations"][name]
        scheduling = any(
            {"schedule", "call"} & set(each.get("effects", ()))
            for each in self.old["operations"].values()
        )
        clients = [] if operation.get("internal") else [CLIENTS]
        timers = [TIMERS] if scheduling and operation["kind"] == "command" else []
        return clients + timers or [TIMERS]

    def _as_sent(self, old: Schema, new: Schema) -> tuple[Schema, Schema]:
        """Return what old clients send, after the gateway filled in the new defaults."""
        own, defaults = _defaults(self.old, old), _defaults(self.new, new)
        if canonical(own) == canonical(defaults):
            return old, new  # filled in alike
        shape = _shape(self.old, old)
        members, rest = dict(shape.get("properties", {})), shape.get("additionalProperties", True)
        required = [name for name in shape.get("required", ()) if name not in own]
        for name, value in defaults.items():
            if name not in required:
                members[name] = {"anyOf": [members.get(name, rest), {"const": value}]}
                required.append(name)
        # What else the old request asks for may not be so with other members filled in.
        sent = {
            "type": "object",
            "properties": members,
            "required": required,
            "additionalProperties": rest,
        }
        return sent, new

    def _each(self, where: str, breaks: str, found: list[Excess]) -> Iterator[Change]:
        for excess in found:
            text = excess.message if excess.certain else f"cannot tell {excess.message}"
            yield self._change(where, breaks, excess.rule, text, excess.pointer)

    def _change(
        self, where: str, breaks: str, rule: str, message: str, pointer: str = ""
    ) -> Change:
        return Change(self.old["name"], where, breaks, pointer, rule, message)

    def _note(self, where: str, rule: str, message: str, pointer: str = "") -> Change:
        return Change(self.old["name"], where, "", pointer, rule, message, breaking=False)


_TABLE: tuple[Callable[[Compatibility], Iterator[Change]], ...] = (
    Compatibility.operations,
    Compatibility.kinds,
    Compatibility.requests,
    Compatibility.replies,
    Compatibility.events,
    Compatibility.presence,
    Compatibility.states,
    Compatibility.going_back,
)


def changes(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> list[Change]:
    """Compare two files of one subsystem; None: there is none on that side."""
    if old is not None and new is not None:
        return Compatibility(old, new).changes()
    if old is None:
        return [Change(new["name"], "contract", "", "", "new", "it is new", False)] if new else []
    text = "the subsystem is gone"
    return [Change(old["name"], "contract", whom, "", "gone", text) for whom in (CLIENTS, STATES)]


def as_read(schema: Schema) -> Schema:
    """Return what a reader takes who passes over members that are not declared."""
    if isinstance(schema, bool):
        return schema
    made = dict(schema)
    if made.get("additionalProperties") is False:
        made["additionalProperties"] = True
    for keyword in ("items", "additionalProperties", "contains"):
        if keyword in made:
            made[keyword] = as_read(made[keyword])
    if "properties" in made:
        made["properties"] = {name: as_read(each) for name, each in made["properties"].items()}
    for keyword in ("allOf", "anyOf", "oneOf"):
        if keyword in made:
            made[keyword] = [as_read(part) for part in made[keyword]]
    if "oneOf" in made:  # opened, two of them may take one value: a reader takes either
        parts = made.pop("oneOf")
        made["allOf"] = [*made.get("allOf", ()), {"anyOf": parts}]
    return made


def _shape(contract: Mapping[str, Any], request: Schema) -> Mapping[str, Any]:
    """Return the object schema behind a request."""
    while isinstance(request, Mapping) and "$ref" in request:
        request = contract["$defs"][request["$ref"].removeprefix("#/$defs/")]
    return request if isinstance(request, Mapping) else {}


def _defaults(contract: Mapping[str, Any], request: Schema) -> dict[str, Any]:
    members = _shape(contract, request).get("properties", {})
    return {
        name: schema["default"]
        for name, schema in members.items()
        if isinstance(schema, Mapping) and "default" in schema
    }


def _members(change: Change) -> dict[str, Any]:
    return {name: getattr(change, name) for name in change.__slots__}


def _short(value: Any) -> str:
    text = canonical(value).decode()
    return text if len(text) <= 40 else text[:39] + "…"
