"""The admin calls: what runs, and who owns what."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict

from bridge.canonical import json_type, parse
from bridge.edge.body import Body
from bridge.errors import BridgeError
from bridge.journal.store import Journal, Route
from bridge.message import JSON, RUNTIMES

MAX_BODY_BYTES = 65536
ROUTES = "/admin/routes/"
# HTTP status of an error; all others are the caller's fault: 400.
STATUSES = {"unknown_topic": 404, "storage_unavailable": 503, "limit_exceeded": 413}


class Admin:
    """Answer GET /admin/status and PUT /admin/routes/<subsystem>. Access is checked before."""

    def __init__(
        self,
        journal: Journal,
        edge_status: Callable[[], dict[str, JSON]],
        worker_status: Callable[[], Awaitable[dict[str, JSON]]] | None,
    ) -> None:
        self._journal = journal
        self._edge_status = edge_status
        self._worker_status = worker_status

    async def answer(self, method: str, path: str, body: Body) -> tuple[int, JSON]:
        """Return an HTTP status and the JSON body."""
        try:
            if path == "/admin/status":
                if method not in ("GET", "HEAD"):
                    return _not_allowed(method, "GET")
                return 200, await self.status()
            if path.startswith(ROUTES):
                if method != "PUT":
                    return _not_allowed(method, "PUT")
                route = parse(await body.read(MAX_BODY_BYTES), what="the body")
                return 200, await self._set_route(path.removeprefix(ROUTES), route)
        except TimeoutError as late:
            return 408, BridgeError("deadline_exceeded", str(late)).response()
        except BridgeError as error:
            return STATUSES.get(error.code, 503 if error.retryable else 400), error.response()
        return 404, BridgeError(
            "unknown_topic", "no such admin call", actual=path[:100]
        ).response()

    async def status(self) -> JSON:
        """Return what runs, and the routes."""
        status: dict[str, JSON] = {"edge": self._edge_status()}
        if self._worker_status is not None:
            status |= await self._worker_status()
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
        return asdict(await self._journal.set_route(subsystem, owner, current.fallback))

    async def _check_owner(self, subsystem: str, owner: str) -> None:
        """Refuse an owner that can never answer: nobody implements the subsystem there."""
        status = await self._worker_status() if self._worker_status is not None else {}
        there = status.get("implementations", {}).get(subsystem, RUNTIMES)
        if owner in there or status["runtimes"][owner].get(subsystem):
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


def _not_allowed(method: str, allowed: str) -> tuple[int, JSON]:
    error = BridgeError(
        "invalid_request", f"expected {allowed}, got {method[:20]}", expected=allowed
    )
    return 405, error.response()
