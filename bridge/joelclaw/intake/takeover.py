"""Taking joelclaw's intake over, and giving it back: what is checked, written and waited for."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from bridge.errors import BridgeError
from bridge.joelclaw.intake.in_flight import (
    DOORBELLS,
    IN_FLIGHT,
    LEASE,
    LIST,
    MAIN,
    STATES,
    WORKERS,
    InFlight,
    text_of,
)
from bridge.joelclaw.intake.intake import hand_back
from bridge.joelclaw.sessions import INTAKE
from bridge.journal.store import Journal

OURS = "bridge"  # what the names of our own connections begin with
POLL_S = 0.1
TAKEN_AGAIN = "somebody took it over again meanwhile: release it again"


class TakenAgain(Exception):
    """A release that another `take` overtook."""


@dataclass(frozen=True, slots=True)
class IntakeStatus:
    """Where joelclaw's events stand. `others` are connections that listen beside the bridge."""

    state: str  # free, taken, releasing
    since_ms: int | None
    holder: str | None
    in_flight: int
    waiting: int  # in joelclaw:events:gateway
    waiting_main: int  # in joelclaw:events:main
    others: list[str]
    echoes: int = 0  # dropped so far


async def intake_status(redis: Redis) -> IntakeStatus:
    """Look; nothing is changed. Raises RedisError or OSError."""
    found: Any = await redis.hmget(INTAKE, ["state", "since_ms", "echoes"])
    state = next((known for known in STATES if found[0] == known.encode()), "free")
    holder: Any = await redis.get(LEASE)
    workers: Any = await redis.smembers(WORKERS)
    in_flight = [await redis.llen(IN_FLIGHT.encode() + worker) for worker in workers]
    return IntakeStatus(
        state=state,
        since_ms=_number(found[1]) if state != "free" else None,
        holder=text_of(holder) if holder else None,
        in_flight=sum(in_flight),
        waiting=int(await redis.llen(LIST)),
        waiting_main=int(await redis.llen(MAIN)),
        others=await other_consumers(redis),
        echoes=_number(found[2]) or 0,
    )


def _number(text: bytes | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


async def other_consumers(redis: Redis) -> list[str]:
    """Name the connections that may listen at the gateway's doorbells and are not the bridge's.

    Redis tells how many listen at a channel, and which connections listen at all, but not which
    at what: a daemon, a pi session, and `joelclaw gateway stream` look alike.
    """
    counts: Any = await redis.pubsub_numsub(DOORBELLS[0])
    listening: Any = await redis.client_list(_type="pubsub")
    ours = [client for client in listening if client["name"].startswith(OURS)]
    if int(counts[0][1]) <= len(ours):
        return []
    return sorted(_name_of(client) for client in listening if client not in ours)


def _name_of(client: dict[str, str]) -> str:
    name = f" {client['name']}" if client["name"] else ""
    return f"{client['addr']}{name}, connected for {client['age']} s"


async def take(redis: Redis) -> None:
    """Let the bridge's workers take. Repeated, it changes nothing."""
    await InFlight(redis, "take").change("taken")


async def until_held(redis: Redis) -> str:
    """Return the worker that takes, as soon as there is one."""
    while True:
        holder: Any = await redis.get(LEASE)
        if holder is not None:
            return text_of(holder)
        await asyncio.sleep(POLL_S)


@dataclass(frozen=True, slots=True)
class Released:
    """How a release ended. `unchecked`: the journal could not tell what was committed."""

    given_back: int
    unchecked: bool


async def release(redis: Redis, journal: Journal | None) -> Released:
    """Stop the intake and put what is in flight back into joelclaw's list, in order.

    A living holder does so itself, after the item it has in hand; of a dead one the lease is
    waited for. Nothing is in flight when it returns. Raises RedisError or OSError.
    """
    unchecked = False
    me = f"release-{secrets.token_hex(4)}"
    in_flight = InFlight(redis, me)
    await in_flight.change("releasing")
    while True:
        holder, state, entries = await in_flight.adopt()
        if state == "taken":
            await in_flight.let_go()
            raise TakenAgain(TAKEN_AGAIN)
        if holder == me:
            break
        await asyncio.sleep(POLL_S)
    try:
        if journal is None:
            raise BridgeError("storage_unavailable", "no journal")
        given = await hand_back(in_flight, entries, journal)
    except BridgeError:  # joelclaw may see again what was committed: better than to keep it
        unchecked = bool(entries)
        given = await in_flight.give_back([])
    if not await in_flight.change("free", "releasing", ""):
        raise TakenAgain(TAKEN_AGAIN)
    return Released(given, unchecked)
