"""What the settings say of the terminal: the topic that answers it. No I/O here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from bridge.errors import BridgeError
from bridge.message import JSON, Kind
from bridge.settings import BadSetting, Settings

if TYPE_CHECKING:
    from bridge.contracts.registry import Contract, Registry

# What the topic's subsystem must take; each with a request to try.
OPERATIONS: Mapping[str, tuple[Kind, JSON]] = {
    "prompt": ("command", {"text": "hello"}),
    "abort": ("command", {}),
    "status": ("query", {}),
}
# Events without which a client would show nothing, or wait for ever.
NEEDED: Mapping[str, JSON] = {"terminal.text_delta": {"delta": "hello"}, "terminal.turn_end": {}}


class Topic(NamedTuple):
    subsystem: str
    key: str

    def __str__(self) -> str:
        return f"{self.subsystem}:{self.key}"


def check_terminal(settings: Settings, registry: Registry) -> Topic | None:
    """Return the topic that answers the terminal, None if there is none to be.

    Raises BadSetting for a port that is none and for a topic that cannot answer.
    """
    if not settings.terminal_port:
        return None
    if settings.terminal_port > 65535:
        raise BadSetting(f"BRIDGE_TERMINAL_PORT: expected a port, got {settings.terminal_port}")
    name, colon, key = settings.terminal.partition(":")
    if not colon:
        raise _bad(settings, "`subsystem:key`", "no colon")
    try:
        contract = registry.get(name)
        contract.check_key(key)
    except BridgeError as error:
        raise _bad(settings, "a topic of this bridge", error.message) from None
    for operation, (kind, example) in OPERATIONS.items():
        _check_operation(settings, contract, operation, kind, example)
    for event, payload in NEEDED.items():
        schema = contract.events.get(event)
        violation = schema.violation(payload) if schema else "none"
        if violation:
            raise _bad(settings, f"event {event} with payload {payload}", str(violation))
    return Topic(name, key)


def _check_operation(
    settings: Settings, contract: Contract, name: str, kind: Kind, example: JSON
) -> None:
    expected = f"{kind} {name} that takes {example}"
    try:
        operation = contract.operation(name)
        operation.check_request(example)
    except BridgeError as error:
        raise _bad(settings, expected, error.message) from None
    if operation.kind != kind:
        raise _bad(settings, expected, f"a {operation.kind}")


def _bad(settings: Settings, expected: str, actual: str) -> BadSetting:
    return BadSetting(f"BRIDGE_TERMINAL={settings.terminal}: expected {expected}, got {actual}")
