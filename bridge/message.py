"""What travels through the bridge: messages, contexts, outcomes, versions. No I/O here.

Tuples, as all that is made once per message: frozen dataclasses take four times as long to make.
"""

from __future__ import annotations

import functools
import hashlib
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

JSON = Any  # null, bool, int, float, str, list and dict with string keys, nested

Kind = Literal["query", "command"]
# What a runtime may be asked beside its operations: a state of an older version, made this one's.
MIGRATION: Literal["migration"] = "migration"
RuntimeName = Literal["python", "typescript", "elixir"]
RUNTIMES: tuple[RuntimeName, ...] = ("python", "typescript", "elixir")
# Members of a push's payload that are the bridge's; no contract may declare them.
RESERVED_MEMBERS = ("message_id", "runtime")
# Topics that begin with these are the bridge's and Channels' own; no subsystem is called that.
RESERVED_NAMES = ("gateway", "outlet", "phoenix")
# The internal command that is told who is there, of a contract with presence.
PRESENCE = "presence"
# Why a runtime got a message: it owns the subsystem; or the message's bucket, in a move's canary;
# or it stood in for who could not be reached.
Reason = Literal["owner", "canary", "fallback"]


class Version(NamedTuple):
    """Name one state of a key: two computations of `seq` 6 are different states.

    `seq` 0 with an empty `message_id` is the key nothing was committed to yet.
    """

    seq: int = 0
    message_id: str = ""


class Message(NamedTuple):
    """One request to one key. `id` stays through every retry, edge and worker.

    `due_ms` is set for a timer's message and is the time it was due. `timer` names that timer
    and `set_by` the commit that set it; its removal is part of the commit it causes.
    """

    id: str
    subsystem: str
    key: str
    operation: str
    request: JSON
    due_ms: int = 0
    timer: str = ""
    set_by: str = ""


class Context(NamedTuple):
    """All a handler may know of the world. Times are integer milliseconds since 1970."""

    message_id: str
    key: str
    now_ms: int
    local: dict[str, str]  # date YYYY-MM-DD, time HH:MM:SS, zone (IANA name)
    seed: str  # 64 hex digits
    deadline_ms: int

    def as_json(self) -> dict[str, JSON]:
        return self._asdict()


class Invocation(NamedTuple):
    """What a runtime is handed: one message with the state it applies to."""

    subsystem: str
    key: str
    operation: str
    kind: Kind | Literal["migration"]
    request: JSON
    state: JSON
    context: Context
    digest: str  # of the contract, so that a runtime built from another one refuses
    timeout_ms: int


class Outcome(NamedTuple):
    """What a handler answered: reply, effects as data, and the key's next state.

    For a query `effects` is empty and `state` is ignored. `build` tells which version of the
    implementation it was, as far as its runtime says.
    """

    reply: JSON
    effects: list[dict[str, JSON]]
    state: JSON = None
    build: str = ""


# Holds an outcome to a contract and returns it normalised. Raises RuntimeFault.
Judge = Callable[[Outcome], Outcome]


def context_for(message_id: str, now_ms: int, deadline_ms: int, zone: str, key: str) -> Context:
    """Build the context of one attempt; the seed depends on the message alone.

    Contexts of one second share `local`: a handler gets a copy.
    """
    seed = hashlib.sha256(f"{message_id}/seed".encode()).hexdigest()
    return Context(message_id, key, now_ms, _local(now_ms // 1000, zone), seed, deadline_ms)


@functools.lru_cache(maxsize=64)
def _local(now_s: int, zone: str) -> dict[str, str]:
    date, time = datetime.fromtimestamp(now_s, ZoneInfo(zone)).isoformat().split("T")
    return {"date": date, "time": time[:8], "zone": zone}


def derived_id(message_id: str, name: str | int) -> str:
    """Return UUIDv8 number `name` of a message: SHA-256 of `message id/name` (RFC 9562, 5.8)."""
    digest = bytearray(hashlib.sha256(f"{message_id}/{name}".encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(digest)))


def derived_random(seed: str, n: int) -> int:
    """Return random integer number `n` of a seed, 0 to 2^53-1: the top 53 bits of SHA-256."""
    digest = hashlib.sha256(f"{seed}/{n}".encode()).digest()
    return int.from_bytes(digest[:8]) >> 11
