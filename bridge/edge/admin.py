"""The admin calls: what runs, and who owns what."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict

from bridge.canonical import json_type, parse
from bridge.edge.body import Body
from bridge.edge.moves import MOVES, MoveCalls
from bridge.errors import BridgeError
from bridge.journal.store import Journal
from bridge.journal.values import Route
from bridge.message import JSON, RUNTIMES

MAX_BODY_BYTES = 65536
ROUTES = "/admin/routes/"
MIGRATE = "/admin/migrate/"
MAX_KEYS = 50  # in one request: a bounded step
MIGRATE_MS = 2000
# HTTP status of an error; all others are the caller's fault: 400.
STATUSES = {"unknown_topic": 404, "storage_unavailable": 503, "limit_exceeded": 413}


class Admin:
    """Answer GET /admin/status, PUT /admin/routes/<subsystem> and /admin/migrate/<subsystem>, and
    calls for moves.

    Access is checked before.
    """

    def __init__(
        self,
        journal: Journal,
        status: Callable[[], Awaitable[dict[str, JSON]]],
        migrate: Callable[[str, str, int], Awaitable[bool]],
        moves: MoveCalls | None = None,
    ) -> None:
        self._journal = journal
        self._all = status
        self._migrate = migrate
        self._moves = moves

    async def answer(self, method: str, path: str, body: Body) -> tuple[int, JSON]:
        """Return an HTTP status and the JSON body."""
        try:
            if path == "/admin/status":
                if method not in ("GET", "HEAD"):
                    return _not_allowed(method, "GET")
                return 200, await self.status()
            if self._moves is not None and f"{path}/".startswith(f"{MOVES}/"):
                return 200, await self._moves.answer(method, path, body)
            if path.startswith(ROUTES):
                if method != "PUT":
                    return _not_allowed(method, "PUT")
                route = parse(await body.read(MAX_BODY_BYTES), what="the body")
                return 200, await self._set_route(path.removeprefix(ROUTES), route)
            if path.startswith(MIGRATE):
                if method != "PUT":
                    return _not_allowed(method, "PUT")
                keys = parse(await body.read(MAX_BODY_BYTES), what="the body")
                return 200, await self._migrate_keys(path.removeprefix(MIGRATE), keys)
        except TimeoutError as late:
            return 408, BridgeError("deadline_exceeded", str(late)).response()
        except BridgeError as error:
            return STATUSES.get(error.code, 503 if error.retryable else 400), error.response()
        return 404, BridgeError(
            "unknown_topic", "no such admin call", actual=path[:100]
        ).response()

    async def status(self) -> JSON:
        """Return what runs, and the routes."""
        status = await self._all()
        try:
            status["routes"] = [asdict(route) for route in await self._journal.routes()]
        except BridgeError as error:
            status["routes"] = error.response()
        return status

    async def _set_route(self, subsystem: str, body: JSON) -> JSON:
        owner = body.get("owner") if isinstance(body, dict) else None
        if owner not in RUNTIMES:
            raise BridgeError(
                "invalid_request",
                f"/owner: expected one of {', '.join(RUNTIMES)}",
                pointer="/owner",
                expected=list(RUNTIMES),
                actual=owner if isinstance(owner, str) else json_type(owner),
            )
        current = await self._route(subsystem)
        await self._check_owner(subsystem, owner)
        by, why = (str(body.get(name) or "") for name in ("by", "why"))
        return asdict(
            await self._journal.set_route(subsystem, owner, current.fallback, by=by, why=why)
        )

    async def _migrate_keys(self, subsystem: str, keys: JSON) -> JSON:
        """Migrate the keys that need it; tell those that were, and those that cannot be."""
        if not isinstance(keys, list) or len(keys) > MAX_KEYS or not all(map(_is_text, keys)):
            raise BridgeError(
                "invalid_request",
                f"expected an array of at most {MAX_KEYS} keys, got {json_type(keys)}",
                expected=f"at most {MAX_KEYS} keys",
                actual=json_type(keys),
            )

        async def one(key: str) -> bool | str:
            try:
                return await self._migrate(subsystem, key, MIGRATE_MS)
            except BridgeError as error:
                if error.retryable:
                    raise
                return error.message

        await self._route(subsystem)
        done = dict(zip(keys, await asyncio.gather(*map(one, keys)), strict=True))
        failed = {key: told for key, told in done.items() if isinstance(told, str)}
        return {"migrated": sum(told is True for told in done.values()), "failed": failed}

    async def _check_owner(self, subsystem: str, owner: str) -> None:
        """Refuse an owner that can never answer: nobody implements the subsystem there."""
        status = await self._all()
        there = status.get("implementations", {}).get(subsystem, RUNTIMES)
        reached = [
            worker["runtimes"][owner].get(subsystem) for worker in status.get("workers", ())
        ]
        if owner in there or any(reached):
            return
        raise BridgeError(
            "invalid_request",
            f"/owner: {owner} has no implementation of {subsystem}, "
            f"expected one of {', '.join(there) or 'none'}",
            pointer="/owner",
            expected=list(there),
            actual=owner,
        )

    async def _route(self, subsystem: str) -> Route:
        routes = {route.subsystem: route for route in await self._journal.routes()}
        if subsystem not in routes:
            raise BridgeError(
                "unknown_topic",
                f"no subsystem {subsystem[:64]!r}",
                expected=sorted(routes),
                actual=subsystem[:64],
            )
        return routes[subsystem]


def _is_text(value: JSON) -> bool:
    return type(value) is str


def _not_allowed(method: str, allowed: str) -> tuple[int, JSON]:
    error = BridgeError(
        "invalid_request", f"expected {allowed}, got {method[:20]}", expected=allowed
    )
    return 405, error.response()
