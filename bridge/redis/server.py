"""Look at a Redis before trusting it: version, append-only file, eviction, what it allows."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.errors import BridgeError
from bridge.redis.address import Address
from bridge.redis.client import load_scripts
from bridge.redis.connection import Connection, NotSent, Rejected, Unanswered, connect
from bridge.redis.keys import SCRATCH
from bridge.redis.refusals import Refused, is_not_allowed, refused_of

LEAST_VERSION = (6, 2)


@dataclass(frozen=True, slots=True)
class ServerReport:
    """What a Redis is; `problems` is empty unless unsafe ones were accepted."""

    version: str
    appendonly: bool
    appendfsync: str  # always, everysec, no, or `unknown` where CONFIG is not allowed
    eviction: str  # maxmemory-policy
    problems: tuple[str, ...]


class UnsafeServer(Exception):
    """A Redis that would lose what was acknowledged; each problem names the line to set."""

    def __init__(self, server: str, problems: tuple[str, ...]) -> None:
        super().__init__(f"Redis at {server}: " + "; ".join(problems))
        self.server = server
        self.problems = problems


async def check_server(url: str, *, unsafe: bool = False, timeout_ms: int = 2000) -> ServerReport:
    """Report what the Redis at `url` is; raises UnsafeServer unless `unsafe`.

    A version that is too old, a replica, and an ACL that lacks a command are refused in any
    case. Raises BridgeError `storage_unavailable` if it cannot be reached or refuses to write for
    now, ValueError if the URL is none.
    """
    address = Address.parse(url)
    try:
        connection = await connect(address, timeout_ms / 1000, max_pending=8)
        try:
            info = _fields(await connection.send("INFO"))
            try:
                _, appendfsync = await connection.send("CONFIG", "GET", "appendfsync")
            except (Rejected, ValueError):
                appendfsync = b"unknown"
            refused = await _refused(connection, address)
        finally:
            connection.close()
    except (NotSent, Unanswered, Rejected) as error:
        raise BridgeError("storage_unavailable", f"Redis: {error}") from None

    version = info.get("redis_version", "0")
    policy = info.get("maxmemory_policy", "noeviction")
    appendonly = info.get("aof_enabled") == "1"
    fatal, doubtful = [], []
    if tuple(int(part) for part in version.split(".")[:2]) < LEAST_VERSION:
        fatal.append(f"version {version}, expected 6.2 or newer")
    if info.get("role") == "slave":
        fatal.append("it is a replica, expected the primary")
    elif refused is not None and not refused.commands:
        raise BridgeError("storage_unavailable", f"Redis: {refused}")
    elif refused is not None:
        fatal.append(str(refused))
    if not appendonly:
        doubtful.append(
            "it keeps no append-only file: put `appendonly yes` into redis.conf, "
            "or run `redis-cli CONFIG SET appendonly yes`"
        )
    if policy != "noeviction":
        doubtful.append(
            f"maxmemory-policy is {policy}, which drops keys: put `maxmemory-policy noeviction` "
            "into redis.conf, or run `redis-cli CONFIG SET maxmemory-policy noeviction`"
        )
    if fatal or (doubtful and not unsafe):
        raise UnsafeServer(str(address), (*fatal, *doubtful))
    return ServerReport(version, appendonly, appendfsync.decode(), policy, tuple(doubtful))


async def _refused(connection: Connection, address: Address) -> Refused | None:
    probe = load_scripts()["probe"]
    try:
        _, *found = await connection.send("EVAL", probe.source, 1, SCRATCH, "probe")
    except Rejected as error:
        return Refused(address, str(error), ("EVAL",) if is_not_allowed(str(error)) else ())
    return refused_of(address, found)


def _fields(info: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in info.decode().splitlines())
    return {name: value for name, _, value in lines if value}
