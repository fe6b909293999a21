"""What is known of the connections that read joelclaw's lists. No I/O here."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from bridge.observe.daemon import REMEMBERED, unseen_by_daemon, unseen_by_pi
from bridge.observe.event_list import Item

DAEMON = "gateway"  # the session of the daemon
TRACED = (DAEMON, "main")  # sessions whose reader leaves a trace of all it hands on
MAX_CLIENTS = 1_000  # the one that did something longest ago is forgotten
MAX_SESSIONS = 100


class Latest(OrderedDict[Any, Any]):
    """A dictionary of at most so many entries: the one set longest ago goes."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > self._most:
            self.popitem(last=False)


class Readers:
    """Connections by their address, as MONITOR names them."""

    def __init__(self) -> None:
        self._session = Latest(MAX_CLIENTS)  # the one whose list it read last
        self._acting = Latest(MAX_CLIENTS)  # it does something with what it reads
        self._pi = Latest(MAX_CLIENTS)  # it is a pi session
        self._signed_off = Latest(MAX_CLIENTS)  # the session it took out of the set
        self._opened = Latest(MAX_CLIENTS)  # when it opened the stream of prompts
        self._ids = Latest(MAX_SESSIONS)  # by session: ids of what was read

    def reads(self, client: str, session: str) -> None:
        self._session[client] = session

    def session(self, client: str) -> str:
        """Return the session a connection reads, the daemon's if it was not seen reading."""
        found: str = self._session.get(client, DAEMON)
        return found

    def acts(self, client: str) -> None:
        self._acting[client] = True

    def is_acting(self, client: str) -> bool:
        """Say whether it is more than somebody who looks, such as `joelclaw gateway events`."""
        return client in self._acting

    def is_pi(self, client: str) -> None:
        self._pi[client] = True

    def signs_off(self, client: str, session: str) -> None:
        self._signed_off[client] = session

    def signs_on(self, client: str) -> None:
        self._signed_off.pop(client, None)

    def signed_off(self, client: str) -> str:
        found: str = self._signed_off.get(client, "")
        return found

    def opens_store(self, client: str, at_ms: int) -> None:
        """Note that the daemon opens its stream: what it handed on before is in its memory."""
        self._opened[client] = at_ms

    def remembers(self, item: Item) -> None:
        """Note that the item was read: its reader knows the id if it comes again."""
        if item.look.id is not None:
            if item.session not in self._ids:
                self._ids[item.session] = Latest(REMEMBERED)
            self._ids[item.session][item.look.id] = True

    def unseen(self, item: Item, client: str, read_ms: int) -> tuple[str, str]:
        """Return fate and reason of an item a connection read, deleted and left no trace of."""
        if client in self._pi:
            return unseen_by_pi(item.look, looked_up=item.looked_up)
        if item.session in TRACED:
            fate = unseen_by_daemon(item.look, self._ids.get(item.session, ()))
            starting = read_ms <= self._opened.get(client, 0)
            return (
                ("unstored", "at the daemon's start") if fate[0] == "lost" and starting else fate
            )
        return "taken", ""
