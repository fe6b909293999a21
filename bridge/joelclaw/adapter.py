"""What a worker runs beside its edge: the parts that speak with joelclaw."""

from __future__ import annotations

from typing import Protocol

from bridge.message import JSON


class Adapter(Protocol):
    """Made by `gateway/joelclaw.py`; `run` from the start until it was asked to end."""

    name: str  # its member of `joelclaw` in /admin/status

    async def run(self) -> None:
        """Work until `close` or cancelled; trouble of a Redis or a peer is waited out."""
        ...

    def close(self) -> None:
        """Ask `run` to end after what it has in hand."""
        ...

    def status(self) -> dict[str, JSON]: ...
