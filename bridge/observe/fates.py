"""What became of every item pushed to `joelclaw:events:*`, told from MONITOR alone. No I/O here.

Feed executed commands in order, empty with `take`. An item that was deleted before anybody's
LRANGE covered it is lost, for certain. One that was read and deleted and left no trace is judged
after `grace_ms` by the rules of whoever read it. Nothing in here grows with time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from bridge.observe.daemon import MODES
from bridge.observe.event_list import EventList, Item
from bridge.observe.fate import Record, Returned, Switched
from bridge.observe.keys import (
    BATCH,
    BRIDGE,
    DOORBELL,
    MESSAGES,
    MODE,
    SEEN,
    SESSIONS,
    event_ids,
    id_of,
    integers,
    pop_of,
    session_of,
)
from bridge.observe.ledger import Fault, Ledger, digest
from bridge.observe.monitor import LUA, Command
from bridge.observe.readers import Latest, Readers

MAX_FOLLOWED = 50_000  # items in lists, or not judged yet; what comes beyond is `untracked`
MAX_LISTS = 1_000
MAX_BRIDGED = 10_000
MAX_MOVING = 8
GRACE_MS = 10_000  # the daemon may look for memories for 5 s before it stores a prompt
STRANDED_MS = 10_000  # longer than any reader lets a doorbell wait


class _Gone(NamedTuple):
    """A deleted item that is not judged yet. `reader` was to hand it on, if there is one."""

    item: Item
    at_ms: int
    reader: str
    read_ms: int
    cause: str
    why: str


class Fates:
    """Begin with what is in the lists, then see commands, then finish."""

    def __init__(
        self,
        fault: Fault = lambda item: "",
        *,
        max_followed: int = MAX_FOLLOWED,
        grace_ms: int = GRACE_MS,
    ) -> None:
        self._max_followed = max_followed
        self._grace_ms = grace_ms
        self._ledger = Ledger(fault)
        self._readers = Readers()
        self._lists: dict[str, EventList] = {}
        self._limbo: deque[_Gone] = deque()
        self._moving = Latest(MAX_MOVING)  # client: what it read in `main`, by digest
        self._popped: list[Item] = []  # by a script, whose next command says whose it is
        self._bridged = Latest(MAX_BRIDGED)  # digest: item the bridge took
        self._mode = ""

    # -- what the observer calls ------------------------------------------------------------
    def begin(self, at_ms: int, lists: Mapping[str, Sequence[bytes]], mode: str) -> None:
        """Take what LRANGE gave of each session's list; after a gap, go on from there."""
        self._settle_popped(at_ms, "taken")
        while self._limbo:
            self._unknown(self._limbo.popleft().item, at_ms, "nothing was seen after its DEL")
        self._moving.clear()
        for session in dict.fromkeys([*self._lists, *lists]):
            self._begin_list(self._list(session), lists.get(session, ()), at_ms)
        if mode != self._mode:
            self._switched(at_ms, mode)

    def see(self, command: Command) -> None:
        """Take the next command executed on the database that is observed."""
        if self._popped:
            key = command.args[0] if command.args else b""
            ours = command.client == LUA and key.startswith(BRIDGE)
            self._settle_popped(command.at_ms, "bridge" if ours else "taken")
        least, handler = _HANDLERS.get(command.name, (0, None))
        if handler is not None and len(command.args) >= least:
            handler(self, command)

    def advance(self, at_ms: int) -> None:
        """Judge what was deleted `grace_ms` ago or earlier; `at_ms` is the server's time."""
        while self._limbo and self._limbo[0].at_ms <= at_ms - self._grace_ms:
            self._judge(self._limbo.popleft(), at_ms)

    def finish(self, at_ms: int, *, connected: bool = True) -> None:
        """Give every item a fate: nothing more will be seen."""
        self._settle_popped(at_ms, "taken")
        while self._limbo:
            self._judge(self._limbo.popleft(), at_ms)
        for known in self._lists.values():
            for item in reversed(known.items):
                if connected:
                    why = self._waits(known, item, at_ms)
                    self._ledger.settle(item, at_ms, "waiting", why=why)
                    self._ledger.drop(item)
                else:
                    self._unknown(item, at_ms, "it was waiting when the connection was lost")
            known.clear()

    def take(self) -> list[Record]:
        """Return what was found since the last call, in order."""
        records, self._ledger.records = self._ledger.records, []
        return records

    @property
    def followed(self) -> int:
        """Return how many items are held in memory."""
        return self._ledger.followed

    # -- items come -------------------------------------------------------------------------
    def _begin_list(self, known: EventList, items: Sequence[bytes], at_ms: int) -> None:
        before: dict[bytes, list[Item]] = {}
        for item in known.clear():
            before.setdefault(item.digest, []).append(item)
        known.reads.clear()
        for raw in reversed(items):
            if same := before.get(digest(raw)):
                item = same.pop(0)
                item.unsure = True
                known.push(item, head=True)
            else:
                self._arrive(known, raw, at_ms, head=True, found=True)
        for item in (item for items in before.values() for item in items):
            self._unknown(item, at_ms, "it went while nothing was seen")

    def _push(self, command: Command) -> None:
        key, *values = command.args
        if key == BATCH:
            for value in values:
                self._trace(command, id_of(value), "batched")
        session = session_of(key)
        if session is None:
            return
        known = self._list(session)
        if command.name.endswith("X") and not len(known):
            return
        head = command.name.startswith("L")
        for value in values:
            if again := self._comes_back(known, command, value):
                known.push(again, head=head)
            else:  # writers push to the head; to the tail goes what somebody gives back
                self._arrive(known, value, command.at_ms, head=head, found=not head)

    def _arrive(
        self, known: EventList, raw: bytes, at_ms: int, *, head: bool, found: bool
    ) -> None:
        item = self._ledger.came(known.session, raw, at_ms, found=found)
        if self.followed >= self._max_followed:
            known.untracked += 1
            self._ledger.settle(item, at_ms, "untracked")
        elif known.blocked:
            why = "a client blocks on this list, and what it then takes does not show"
            self._ledger.settle(item, at_ms, "inconclusive", why=why)
        else:
            self._ledger.follow(item)
            known.push(item, head=head)

    def _comes_back(self, known: EventList, command: Command, raw: bytes) -> Item | None:
        """Recognise an item put elsewhere: out of `main` by a starting reader, or given back."""
        name = digest(raw)
        same = self._moving.get(command.client, {}).get(name)
        if same and known.session != "main":
            return self._ledger.moved(same.pop(0), known.session)
        if command.client == LUA and name in self._bridged:
            item: Item = self._bridged.pop(name)
            self._ledger.records.append(Returned(item.n, command.at_ms, item.look.type))
            return self._ledger.moved(item, known.session)
        return None

    # -- items are read, and go -------------------------------------------------------------
    def _lrange(self, command: Command) -> None:
        session, bounds = session_of(command.args[0]), integers(command.args[1:3])
        if session is None or bounds is None:
            return
        known = self._list(session)
        known.read(command.client, bounds[0], bounds[1], command.at_ms)
        self._readers.reads(command.client, session)
        if session == "main" and known.items:
            moving: dict[bytes, list[Item]] = {}
            for item in known.items:
                moving.setdefault(item.digest, []).append(item)
            self._moving[command.client] = moving

    def _delete(self, command: Command) -> None:
        for session in filter(None, map(session_of, command.args)):
            known = self._list(session)
            self._deleted(known, known.clear(), command)
            if session == "main":
                self._moving.pop(command.client, None)

    def _flush(self, command: Command) -> None:
        for known in self._lists.values():
            self._deleted(known, known.clear(), command)

    def _trim(self, command: Command) -> None:
        session, bounds = session_of(command.args[0]), integers(command.args[1:3])
        if session is not None and bounds is not None:
            known = self._list(session)
            self._deleted(known, known.trim(bounds[0], bounds[1]), command)

    def _deleted(self, known: EventList, items: Iterable[Item], command: Command) -> None:
        """Judge what nobody can have read; what somebody has may still leave a trace."""
        client, at_ms = command.client, command.at_ms
        own = known.reads.get(client)
        for item in items:
            if item.fate:
                self._ledger.drop(item)
                continue
            readers = list(known.readers(item))
            if client in readers:
                self._readers.acts(client)
                reader = client
            else:
                reader = next(filter(self._readers.is_acting, readers), "")
            if own is None:
                cause, why = "cleared", f"{at_ms - item.pushed_ms} ms after the push, by {client}"
            else:
                off = self._readers.signed_off(client) == known.session
                cause = "shutdown" if off else "window"
                why = (
                    f"pushed {item.pushed_ms - own.at_ms} ms after {client} had read the list, "
                    f"deleted {at_ms - item.pushed_ms} ms later"
                )
            read_ms = known.reads[reader].at_ms if reader else 0
            gone = _Gone(item, at_ms, reader, read_ms, cause, why)
            if readers or item.unsure:
                self._limbo.append(gone)
            else:
                self._judge(gone, at_ms)

    def _remove(self, command: Command) -> None:
        session, count = session_of(command.args[0]), integers(command.args[1:2])
        if session is not None and count is not None:
            found = self._list(session).remove(digest(command.args[2]), count[0])
            self._taken(found, command)

    def _pop(self, command: Command) -> None:
        pop = pop_of(command)
        if pop is None:
            return
        for session in pop.sessions:
            known = self._list(session)
            if not len(known):
                known.blocked = known.blocked or pop.blocks
                continue
            found = known.pop(pop.count, head=pop.head)
            if command.client == LUA:
                self._popped = found
            else:
                self._taken(found, command)
            return

    def _taken(self, items: Iterable[Item], command: Command) -> None:
        for item in items:
            self._ledger.drop(item)
            why = f"{command.name} by {command.client}"
            self._ledger.settle(item, command.at_ms, "taken", why=why)

    def _settle_popped(self, at_ms: int, fate: str) -> None:
        for item in self._popped:
            self._ledger.drop(item)
            if self._ledger.settle(item, at_ms, fate) and fate == "bridge":
                self._bridged[item.digest] = item
        self._popped = []

    def _astray(self, command: Command) -> None:
        for session in filter(None, map(session_of, command.args)):
            for item in self._list(session).clear():
                self._unknown(item, command.at_ms, f"the list was changed by {command.name}")

    # -- traces of what readers do ----------------------------------------------------------
    def _xadd(self, command: Command) -> None:
        if command.args[0] == MESSAGES:
            for event_id in event_ids(command.args[1:]):
                self._trace(command, event_id, "prompt")

    def _trace(self, command: Command, event_id: str | None, fate: str) -> None:
        self._readers.acts(command.client)
        if item := self._find(command.client, event_id or ""):
            self._settle_read(item, command.at_ms, fate)

    def _xgroup(self, command: Command) -> None:
        if command.args[1] == MESSAGES:
            self._readers.opens_store(command.client, command.at_ms)

    def _set(self, command: Command) -> None:
        key, value = command.args[:2]
        if key.startswith(SEEN):
            self._readers.is_pi(command.client)
            self._readers.acts(command.client)
            if item := self._find_seen(command.client, key):
                self._settle_read(item, command.at_ms, "session", why=f"of {command.client}")
        elif key == MODE:
            self._switch(command, value)
        else:
            self._astray(command)

    def _switch(self, command: Command, value: bytes) -> None:
        known = self._list(self._readers.session(command.client))
        read = known.reads.get(command.client)
        for item in reversed(known.items):
            asked = not item.fate and MODES.get(item.look.type) == value
            if asked and read is not None and read.covers(item):
                self._readers.acts(command.client)
                self._settle_read(item, command.at_ms, "mode")
                self._mode = value.decode(errors="replace")
                return
        self._switched(command.at_ms, value.decode(errors="replace"))

    def _switched(self, at_ms: int, mode: str) -> None:
        self._mode = mode
        self._ledger.records.append(Switched(at_ms, mode))

    def _exists(self, command: Command) -> None:
        for key in command.args:
            if key.startswith(SEEN):
                self._readers.is_pi(command.client)
                if item := self._find_seen(command.client, key):
                    item.looked_up = True

    def _sign_off(self, command: Command) -> None:
        if command.args[0] == SESSIONS:
            for session in command.args[1:]:
                self._readers.signs_off(command.client, session.decode(errors="replace"))

    def _sign_on(self, command: Command) -> None:
        if command.args[0] == SESSIONS:
            self._readers.signs_on(command.client)

    def _ring(self, command: Command) -> None:
        channel = command.args[0]
        if channel.startswith(DOORBELL):
            known = self._lists.get(channel[len(DOORBELL) :].decode(errors="replace"))
            if known is not None:
                known.rung_ms = command.at_ms

    def _find(self, client: str, event_id: str) -> Item | None:
        session = self._readers.session(client)
        return next(self._ledger.without_fate(event_id, session), None)

    def _find_seen(self, client: str, key: bytes) -> Item | None:
        """Return what a pi session means: by id, heartbeats by minute, todoist's by its type."""
        name = key[len(SEEN) :].decode(errors="replace")
        if item := self._find(client, name):
            return item
        kind, _, rest = name.partition(":")
        known = self._lists.get(self._readers.session(client))
        for item in reversed(known.items) if known else ():
            beats = kind == "heartbeat" and str(item.look.minute) == rest
            if not item.fate and (beats or (kind == item.look.type and "." in kind)):
                return item
        return None

    # -- judgement --------------------------------------------------------------------------
    def _judge(self, gone: _Gone, at_ms: int) -> None:
        item = gone.item
        if item.unsure and not gone.reader:
            self._unknown(item, at_ms, "it was there before, and may have been read before")
            return
        self._ledger.drop(item)
        if gone.reader:
            fate, why = self._readers.unseen(item, gone.reader, gone.read_ms)
            self._settle_read(item, at_ms, fate, why or f"read by {gone.reader}")
        else:
            self._ledger.settle(item, at_ms, "lost", gone.cause, gone.why)

    def _settle_read(self, item: Item, at_ms: int, fate: str, why: str = "") -> None:
        """Give a fate to an item that its reader had; it will know its id again."""
        cause = "nothing" if fate == "lost" else ""
        if self._ledger.settle(item, at_ms, fate, cause, why):
            self._readers.remembers(item)

    def _unknown(self, item: Item, at_ms: int, why: str) -> None:
        self._ledger.drop(item)
        self._ledger.settle(item, at_ms, "inconclusive", why=why)

    def _waits(self, known: EventList, item: Item, at_ms: int) -> str:
        if any(map(self._readers.is_acting, known.readers(item))):
            return "its reader has it in hand"
        if known.rung_ms is None or known.rung_ms < item.pushed_ms:
            return "no doorbell rang since it came"
        rang_ms = at_ms - known.rung_ms
        late = "stranded: " if rang_ms > STRANDED_MS else ""
        return f"{late}its doorbell rang {rang_ms} ms ago"

    def _list(self, session: str) -> EventList:
        known = self._lists.get(session)
        if known is None:
            if len(self._lists) >= MAX_LISTS:  # sessions come and go
                self._lists = {name: of for name, of in self._lists.items() if len(of)}
            known = self._lists[session] = EventList(session)
        return known


# By command: how many arguments it has at least, and who takes it.
_HANDLERS: dict[str, tuple[int, Callable[[Fates, Command], None]]] = {
    **dict.fromkeys(("LPUSH", "RPUSH", "LPUSHX", "RPUSHX"), (2, Fates._push)),
    "LRANGE": (3, Fates._lrange),
    **dict.fromkeys(("DEL", "UNLINK"), (1, Fates._delete)),
    **dict.fromkeys(("FLUSHDB", "FLUSHALL"), (0, Fates._flush)),
    "LTRIM": (3, Fates._trim),
    "LREM": (3, Fates._remove),
    **dict.fromkeys(("LPOP", "RPOP", "LMOVE", "RPOPLPUSH", "LMPOP"), (1, Fates._pop)),
    **dict.fromkeys(("BLPOP", "BRPOP", "BLMOVE", "BRPOPLPUSH", "BLMPOP"), (1, Fates._pop)),
    "XADD": (2, Fates._xadd),
    "XGROUP": (2, Fates._xgroup),
    "SET": (2, Fates._set),
    "EXISTS": (1, Fates._exists),
    "SREM": (2, Fates._sign_off),
    "SADD": (2, Fates._sign_on),
    "PUBLISH": (1, Fates._ring),
    **dict.fromkeys(("RENAME", "RENAMENX", "COPY", "MOVE", "RESTORE"), (1, Fates._astray)),
    **dict.fromkeys(("LSET", "LINSERT", "EXPIRE", "PEXPIRE"), (1, Fates._astray)),
    **dict.fromkeys(("EXPIREAT", "PEXPIREAT"), (1, Fates._astray)),
}
