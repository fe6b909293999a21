"""Inngest's event endpoint on the gateway's port, for senders that know nothing of the bridge.

`POST /e/<key>` takes what Inngest takes and answers as it does. An event with a route becomes a
command; every other one goes on to the real Inngest as it came, byte for byte.

Of an array the routed events are committed first, in their order, then the others are passed on
in one request. Whatever fails on the way is the answer, and the sender repeats the whole array:
what was committed is answered from its done-record, what was passed on keeps the ids (`id`, or
the sender's seed) by which Inngest knows it.
"""

from __future__ import annotations

import hmac
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from bridge.canonical import check_values
from bridge.errors import BridgeError, RuntimeUnavailable
from bridge.joelclaw.inngest.api import (
    DEFAULT_KEY,
    Answer,
    EventApi,
    Headers,
    NotAccepted,
    Unanswered,
)
from bridge.joelclaw.inngest.events import message_id, part_of, parts_of
from bridge.message import JSON, Message

if TYPE_CHECKING:
    from bridge.contracts.registry import Registry
    from bridge.dispatch import Dispatcher
    from bridge.joelclaw.envelopes import Envelopes
    from bridge.joelclaw.inngest.routes import Target
    from bridge.telemetry import Telemetry
    from bridge.turns import Turns

EVENTS = "/e/"
# What the SDK and joelclaw's CLI ask of the same base URL besides; passed on, unread.
BESIDES = ("/dev", "/fn/register")
BESIDES_UNDER = ("/v0/", "/v1/")
SEED = b"x-inngest-event-id-seed"
HOP = b"x-bridge-passed"
FORWARDED = frozenset({b"content-type", b"user-agent", b"traceparent", b"tracestate"})
RETURNED = frozenset({b"content-type", b"retry-after"})

MAX_BODY_BYTES = 4_194_304  # Inngest takes 3 MiB an event
MAX_BODIES_BYTES = 67_108_864  # of all requests under way together
MAX_EVENTS = 5000  # in an array
MAX_VALUES = 100_000  # in a body
TURN_EVENTS = 50  # read before others have their turn
MAX_PASSING = 64  # requests that wait for the real Inngest
MAX_NAMES = 200  # of events, counted one by one
OTHERS = "(other)"

# HTTP status of an error. Those that are worth a repeat are 503, all others the sender's: 400.
STATUSES = {
    "unauthorized": 401,
    "idempotency_conflict": 409,
    "limit_exceeded": 413,
    "runtime_fault": 500,
}
# What our runtimes do not share. Inngest may take it: it matters only for what has a route.
OURS = frozenset({"invalid_number", "invalid_text", "limit_exceeded"})

Scope = MutableMapping[str, Any]
ReadBody = Callable[[int], Awaitable[bytes]]


class _Event(NamedTuple):
    name: str
    target: Target | None
    data: JSON
    pointer: str  # to the data, in the body
    id: str  # of the message


class Ingress:
    """One worker's; `answer` is called for each request whose path it `takes`."""

    def __init__(
        self,
        targets: Mapping[str, Target],
        registry: Registry,
        dispatcher: Dispatcher,
        envelopes: Envelopes,
        inngest: EventApi | None,
        telemetry: Telemetry,
        turns: Turns,
        *,
        event_key: str,
        exposed: bool,
        timeout_ms: int,
        new_id: Callable[[], str],
    ) -> None:
        """`exposed`: the gateway can be reached from other machines."""
        self._targets = targets
        self._registry = registry
        self._dispatcher = dispatcher
        self._envelopes = envelopes
        self._inngest = inngest
        self._telemetry = telemetry
        self._turns = turns
        self._event_key = event_key.encode()
        self._exposed = exposed
        self._timeout_ms = timeout_ms
        self._new_id = new_id
        self._passing = 0
        self._bodies_bytes = 0
        self._names: dict[str, Counter[str]] = {name: Counter() for name in targets}

    def takes(self, path: str) -> bool:
        """Say whether a request is for us. Besides events only a gateway on loopback passes
        anything on: such calls carry no key.
        """
        if path.startswith(EVENTS):
            return True
        besides = path in BESIDES or path.startswith(BESIDES_UNDER)
        return besides and self._inngest is not None and not self._exposed

    async def answer(self, scope: Scope, read_body: ReadBody) -> Answer:
        """Answer one HTTP request. Raises nothing."""
        try:
            if not scope["path"].startswith(EVENTS):
                return await self._pass_call(scope, read_body)
            if scope["method"] != "POST":
                error = BridgeError(
                    "invalid_request",
                    f"expected POST, got {scope['method'][:20]}",
                    expected="POST",
                )
                return self.refuse(error, 405)
            if self._exposed and self._event_key == DEFAULT_KEY.encode():
                error = BridgeError(
                    "unauthorized",
                    "events are not taken beyond loopback under the default event key: "
                    "set BRIDGE_INNGEST_EVENT_KEY to a secret",
                )
                return self.refuse(error, 403)
            self._check_key(scope["path"].removeprefix(EVENTS))
            headers = scope["headers"]
            with self._room(dict(headers)):
                return await self._take(await read_body(MAX_BODY_BYTES), headers)
        except TimeoutError as late:
            return self.refuse(BridgeError("deadline_exceeded", str(late)), 408)
        except BridgeError as error:
            return self.refuse(error)
        except Exception as error:  # a defect of ours: the sender still gets its answer
            self._telemetry.emit("defect", where="ingress", text=repr(error))
            return self.refuse(BridgeError("internal", "a defect of the bridge; it was counted"))

    def refuse(self, error: BridgeError, status: int = 0) -> Answer:
        """Return an error as the answer: Inngest's own members, and those of the bridge."""
        status = status or STATUSES.get(error.code, 503 if error.retryable else 400)
        text = " ".join(error.message.split())  # a pointer may hold what the sender wrote
        self._telemetry.emit("ingress_refused", code=error.code, text=text)
        body = {**error.response(), "ids": [], "status": status, "error": error.message}
        headers = [(b"content-type", b"application/json")]
        if status == 405:
            headers.append((b"allow", b"POST"))
        if error.code == "draining":  # a repeat reaches a worker that stays
            headers.append((b"connection", b"close"))
        return Answer(status, headers, orjson.dumps(body))

    def status(self) -> dict[str, JSON]:
        """Return what `/admin/status` shows: routes, and per event name what became of it."""
        return {
            "routes": {name: str(target) for name, target in self._targets.items()},
            "events": {name: dict(counts) for name, counts in sorted(self._names.items())},
            "passing": self._passing,
            "bodies_bytes": self._bodies_bytes,
        }

    # -- reading ---------------------------------------------------------------------------
    def _check_key(self, key: str) -> None:
        given = key.encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, self._event_key) or not given:
            # The text is Inngest's own.
            raise BridgeError("unauthorized", "Event key not found")

    @contextmanager
    def _room(self, sent: Mapping[bytes, bytes]) -> Iterator[None]:
        """Make sure, before it is read, that there is room for a body, and hold it."""
        length = int(sent.get(b"content-length", MAX_BODY_BYTES))  # of chunks nobody knows
        room = min(length, MAX_BODY_BYTES)
        if self._bodies_bytes + room > MAX_BODIES_BYTES:
            raise BridgeError(
                "overloaded",
                f"bodies of {self._bodies_bytes} bytes are under way, up to {MAX_BODIES_BYTES} "
                "may be; nothing was applied",
                queue="ingress bodies",
                limit_bytes=MAX_BODIES_BYTES,
            )
        self._bodies_bytes += room
        try:
            yield
        finally:
            self._bodies_bytes -= room

    async def _read(self, body: bytes, seed: str) -> list[_Event]:
        """Return the events of a body, held to their envelope's contract, a few in a turn."""
        events: list[_Event] = []
        text = body.decode("utf-8", "surrogateescape")  # what is no UTF-8 is refused in its part
        check_values(text, MAX_VALUES)
        for part in parts_of(text, TURN_EVENTS):
            if len(events) >= MAX_EVENTS:
                raise BridgeError(
                    "limit_exceeded",
                    f"more than {MAX_EVENTS} events in one array",
                    limit=MAX_EVENTS,
                )
            if events:
                await self._turns.next()
            raw = part.encode("utf-8", "surrogateescape")
            events += self._read_part(raw, len(events), seed)
        return events

    def _read_part(self, part: bytes, first: int, seed: str) -> list[_Event]:
        try:
            value = self._envelopes.check("InngestEvents", part, first)
        except BridgeError as error:
            events = self._foreign(part) if error.code in OURS else None
            if events is None:
                raise
            return events
        many = isinstance(value, list)
        events = []
        for index, event in enumerate(value if many else [value], first):
            name, data = event["name"], event.get("data") or {}
            id = message_id(event, seed, index) or self._new_id()
            pointer = f"/{index}/data" if many else "/data"
            events.append(_Event(name, self._targets.get(name), data, pointer, id))
        return events

    def _foreign(self, body: bytes) -> list[_Event] | None:
        """Return events of which only the names could be read, if none of them is ours."""
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            return None
        events = []
        for event in value if isinstance(value, list) else [value]:
            name = event.get("name") if isinstance(event, dict) else None
            if not isinstance(name, str) or name in self._targets:
                return None
            events.append(_Event(name, None, None, "", ""))
        return events

    # -- doing -----------------------------------------------------------------------------
    async def _take(self, body: bytes, headers: Headers) -> Answer:
        deadline = time.monotonic() + self._timeout_ms / 1000
        sent = dict(headers)
        events = await self._read(body, sent.get(SEED, b"").decode("latin-1"))
        fates = ["refused"] * len(events)
        try:
            await self._check_requests(events)
            for_inngest = next((event for event in events if event.target is None), None)
            if for_inngest is None:
                await self._commit(events, fates, deadline)
                return _taken([event.id for event in events])
            with self._place(for_inngest.name, sent) as inngest:
                await self._commit(events, fates, deadline)
                return await self._pass(inngest, events, fates, body, headers)
        finally:
            names = (event.name for event in events)
            for (name, fate), times in Counter(zip(names, fates, strict=True)).items():
                self._count(name, fate, times)

    async def _check_requests(self, events: Sequence[_Event]) -> None:
        """Hold what is routed to its operation's contract before anything is applied."""
        for n, event in enumerate(events, 1):
            if n % TURN_EVENTS == 0:
                await self._turns.next()
            if event.target is not None:
                contract = self._registry.get(event.target.subsystem)
                operation = contract.operation(event.target.operation)
                operation.check_request(event.data, event.pointer)

    @contextmanager
    def _place(self, what: str, sent: Mapping[bytes, bytes]) -> Iterator[EventApi]:
        """Make sure, before anything is applied, that something can be passed on, and count it
        as long as it is.
        """
        if self._inngest is None:
            raise RuntimeUnavailable(
                "inngest",
                f"nobody takes {what[:100]!r}: no route in BRIDGE_INNGEST_ROUTES names it and "
                "BRIDGE_INNGEST_URL is not set",
            )
        if HOP in sent:
            raise RuntimeUnavailable(
                "inngest", "BRIDGE_INNGEST_URL leads back to the bridge: name the real Inngest"
            )
        if self._passing >= MAX_PASSING:
            raise BridgeError(
                "overloaded",
                f"{MAX_PASSING} requests wait for Inngest; nothing was applied",
                queue="ingress",
                limit=MAX_PASSING,
            )
        self._passing += 1
        try:
            yield self._inngest
        finally:
            self._passing -= 1

    async def _commit(self, events: Sequence[_Event], fates: list[str], deadline: float) -> None:
        """Dispatch the routed events one after another, each answered when it is committed."""
        for n, event in enumerate(events):
            if event.target is None:
                continue
            message = Message(event.id, *event.target, event.data)
            left_ms = int((deadline - time.monotonic()) * 1000)
            try:
                await self._dispatcher.dispatch(message, timeout_ms=left_ms)
            except BridgeError as error:
                what = f"event {n} ({event.name[:100]!r})"
                raise _partly(error, what, fates, event=n) from None
            fates[n] = "routed"

    async def _pass(
        self,
        inngest: EventApi,
        events: Sequence[_Event],
        fates: list[str],
        body: bytes,
        headers: Headers,
    ) -> Answer:
        """Send on what has no route, and answer for the whole. Inngest's refusal is passed on."""
        passed = [n for n, event in enumerate(events) if event.target is None]
        whole = len(passed) == len(events)
        ids = [event.id for event in events]
        try:
            answer = await _asked(
                inngest.send(
                    body if whole else part_of(body, passed),
                    [*_chosen(headers, FORWARDED), (HOP, b"1")],
                )
            )
            for n, id in zip(passed, inngest.ids(answer, len(passed)), strict=True):
                fates[n], ids[n] = "passed", id
        except NotAccepted as error:
            if answer.status != 200:
                status = str(answer.status)
                self._telemetry.emit("ingress_not_accepted", status=status, text=str(error))
                return _returned(answer)
            # It does not even say whether they were taken.
            unknown = BridgeError("outcome_unknown", f"inngest: {error}")
            raise _partly(unknown, "the events without a route", fates) from None
        except BridgeError as error:
            raise _partly(error, "the events without a route", fates) from None
        return _returned(answer) if whole else _taken(ids)

    async def _pass_call(self, scope: Scope, read_body: ReadBody) -> Answer:
        """Pass on a call other than an event's, unread."""
        with self._place(scope["path"], dict(scope["headers"])) as inngest:
            body = await read_body(MAX_BODY_BYTES)
            query = scope["query_string"].decode("latin-1")
            target = scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
            headers = [*_chosen(scope["headers"], FORWARDED | {b"authorization"}), (HOP, b"1")]
            return _returned(await _asked(inngest.call(scope["method"], target, body, headers)))

    def _count(self, name: str, fate: str, times: int) -> None:
        if name not in self._names and (
            len(self._names) >= MAX_NAMES or len(name) > 100 or not name.isprintable()
        ):
            name = OTHERS
        self._names.setdefault(name, Counter())[fate] += times
        self._telemetry.emit("ingress", times=times, fate=fate)


async def _asked(call: Awaitable[Answer]) -> Answer:
    try:
        return await call
    except Unanswered as error:
        if not error.sent:
            raise RuntimeUnavailable("inngest", str(error)) from None
        raise BridgeError(
            "outcome_unknown", f"inngest: {error}: repeat with the same ids"
        ) from None


def _returned(answer: Answer) -> Answer:
    return Answer(answer.status, _chosen(answer.headers, RETURNED), answer.body)


def _taken(ids: list[str]) -> Answer:
    body = orjson.dumps({"ids": ids, "status": 200})
    return Answer(200, [(b"content-type", b"application/json")], body)


def _chosen(headers: Headers, names: frozenset[bytes]) -> Headers:
    lowered = [(name.lower(), value) for name, value in headers]
    return [(n, v) for n, v in lowered if n in names or n.startswith(b"x-inngest-")]


def _partly(error: BridgeError, what: str, fates: Sequence[str], **detail: JSON) -> BridgeError:
    """Say of an array which of its events are applied already."""
    if len(fates) == 1:
        return error
    applied = [n for n, fate in enumerate(fates) if fate == "routed"]
    before = f"applied already: {applied}" if applied else "nothing is applied"
    text = f"{what}: {error.message}; {before}"
    return BridgeError(error.code, text, **{**error.detail, **detail, "applied": applied})
