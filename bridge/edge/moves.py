"""The admin calls for moves: what stands where, and orders."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from bridge.canonical import json_type, parse
from bridge.edge.body import Body
from bridge.errors import BridgeError
from bridge.message import JSON
from bridge.mover import Order

MAX_BODY_BYTES = 65536
MOVES = "/admin/moves"


class Mover(Protocol):
    """What these calls need; `bridge.mover.Mover` is one."""

    async def order(self, subsystem: str, order: Order) -> dict[str, JSON]: ...
    async def statuses(self) -> list[dict[str, JSON]]: ...
    async def status(self, subsystem: str) -> dict[str, JSON]: ...
    async def history(self, subsystem: str) -> list[dict[str, JSON]]: ...


class Cutover(Protocol):
    """`bridge.cutover.Cutover` is one."""

    async def answer(self, subsystem: str, target: str) -> dict[str, JSON]: ...


class MoveCalls:
    """Answer GET /admin/moves, GET and PUT /admin/moves/<subsystem>, GET …/history and
    …/cutover/<runtime>.
    """

    def __init__(self, mover: Mover, cutover: Cutover) -> None:
        self._mover = mover
        self._cutover = cutover

    async def answer(self, method: str, path: str, body: Body) -> JSON:
        """Return the JSON body. Raises BridgeError."""
        subsystem, _, what = path.removeprefix(MOVES).removeprefix("/").partition("/")
        read: dict[tuple[bool, str], Callable[[], Awaitable[JSON]]] = {
            (False, ""): self._mover.statuses,
            (True, ""): lambda: self._mover.status(subsystem),
            (True, "history"): lambda: self._mover.history(subsystem),
        }
        if method in ("GET", "HEAD") and what.startswith("cutover/"):
            return await self._cutover.answer(subsystem, what.removeprefix("cutover/"))
        if method in ("GET", "HEAD") and (bool(subsystem), what) in read:
            return await read[bool(subsystem), what]()
        if method == "PUT" and subsystem and not what:
            asked = parse(await body.read(MAX_BODY_BYTES), what="the body")
            return await self._mover.order(subsystem, _order(asked))
        raise BridgeError("invalid_request", "no such admin call of moves", actual=method[:20])


def _order(body: Any) -> Order:
    """Read an order. Raises BridgeError `invalid_request` at the member that is wrong."""
    if not isinstance(body, dict):
        raise _wrong("", "an object", body)
    defaults: dict[str, Any] = {"event": "", "by": "", **Order._field_defaults}
    for name, value in body.items():
        if name not in defaults:
            raise _wrong(f"/{name[:40]}", f"no other member than {', '.join(defaults)}", value)
        kind = type(defaults[name])
        if not isinstance(value, (int, float) if kind is float else kind) or (
            isinstance(value, bool) and kind is not bool
        ):
            raise _wrong(f"/{name}", kind.__name__, value)
    return Order(**{**defaults, **body})


def _wrong(pointer: str, expected: str, value: Any) -> BridgeError:
    return BridgeError(
        "invalid_request",
        f"{pointer or '(whole body)'}: expected {expected}, got {json_type(value)}",
        pointer=pointer,
        expected=expected,
        actual=json_type(value),
    )
