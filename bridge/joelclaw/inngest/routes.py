"""What the settings say of Inngest: where it is, which events the bridge takes. No I/O here."""

from __future__ import annotations

from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from bridge.errors import BridgeError
from bridge.settings import BadSetting

FORM = "name=subsystem:key/operation"


class Operation(Protocol):
    @property
    def kind(self) -> str: ...


class Contract(Protocol):
    """What is asked of a subsystem's contract."""

    def check_key(self, key: str) -> None: ...

    def operation(self, name: str) -> Operation: ...


class Registry(Protocol):
    """What is asked of the registry; `bridge.contracts.registry.Registry` is one."""

    def get(self, name: str) -> Contract: ...


class Target(NamedTuple):
    """What an event becomes: a command to one key of a subsystem."""

    subsystem: str
    key: str
    operation: str

    def __str__(self) -> str:
        return f"{self.subsystem}:{self.key}/{self.operation}"


def check_url(url: str) -> str:
    """Return an Inngest's URL as it may be shown. Raises BadSetting."""
    try:
        parts = urlsplit(url)
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError
    except ValueError:
        raise BadSetting(
            "BRIDGE_INNGEST_URL: expected a URL like http://127.0.0.1:8288, "
            f"got {url.rpartition('@')[2]!r}"
        ) from None
    return shown


def parse_routes(text: str, registry: Registry) -> dict[str, Target]:
    """Return the targets by event name. Raises BadSetting for one that cannot work."""
    targets: dict[str, Target] = {}
    for route in filter(None, map(str.strip, text.split(","))):
        name, _, path = route.partition("=")
        topic, _, operation = path.rpartition("/")
        subsystem, _, key = topic.partition(":")
        if not (name and subsystem and key and operation):
            raise _bad(f"expected {FORM}, got {route!r}")
        if name in targets:
            raise _bad(f"{name} has two routes, {targets[name]} and {path}")
        try:
            contract = registry.get(subsystem)
            contract.check_key(key)
            kind = contract.operation(operation).kind
        except BridgeError as error:
            raise _bad(f"{route}: {error}") from None
        if kind != "command":
            raise _bad(f"{route}: expected a command, {operation} is a {kind}")
        targets[name] = Target(subsystem, key, operation)
    return targets


def _bad(text: str) -> BadSetting:
    return BadSetting(f"BRIDGE_INNGEST_ROUTES: {text}")
