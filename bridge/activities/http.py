"""Activities that are somebody's HTTP service: `POST <address>/<activity>`, JSON in and out.

The attempt's id is in `Idempotency-Key`. What the service answers with 2xx is the reply.
"""

from __future__ import annotations

from collections.abc import Mapping

import httpx
import orjson

from bridge.activities.activity import (
    ActivityAway,
    ActivityFailed,
    Attempt,
    NotRetryable,
    Queued,
)
from bridge.message import JSON

EXCERPT = 500
# Client errors that may pass (RFC 9110, 15.5; RFC 6585; RFC 8470); others are about the request.
MAY_PASS = frozenset({401, 403, 404, 407, 408, 421, 423, 425, 429})


class HttpActivities:
    """Calls the addresses of the subsystems. `close` ends the connections that are kept."""

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self._addresses = {name: address.rstrip("/") for name, address in addresses.items()}
        self._client = httpx.AsyncClient(timeout=None, trust_env=False)

    def available(self, subsystem: str, activity: str) -> bool:
        return subsystem in self._addresses

    def queued(self, attempt: Attempt) -> Queued | None:
        return None

    async def perform(self, attempt: Attempt) -> JSON:
        address = f"{self._addresses[attempt.subsystem]}/{attempt.activity}"
        headers = {
            "content-type": "application/json",
            "idempotency-key": f'"{attempt.id}"',
            "bridge-attempt": str(attempt.number),
        }
        body = orjson.dumps(attempt.request)
        try:
            response = await self._client.post(address, content=body, headers=headers)
        except (httpx.ConnectError, httpx.PoolTimeout) as error:
            raise ActivityAway(f"{address}: {type(error).__name__} {error}") from error
        except httpx.HTTPError as error:
            raise ActivityFailed(f"{address}: {type(error).__name__} {error}") from error
        status, text = response.status_code, response.text[:EXCERPT]
        if status >= 500 or status in MAY_PASS:
            raise ActivityFailed(f"{address}: {status} {text}", status=status)
        if status >= 300:
            raise NotRetryable(f"{address}: {status} {text}", status=status)
        try:
            return orjson.loads(response.content or b"null")
        except orjson.JSONDecodeError:
            raise NotRetryable(f"{address}: expected JSON, got {text}", status=status) from None

    async def close(self) -> None:
        await self._client.aclose()
