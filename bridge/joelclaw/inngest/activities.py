"""Activities that are Inngest functions as they are: an event starts one, its run is the answer.

The event is called `<prefix><activity>` and has the request as its data. What became of it is
asked by `GET /v1/events/<id>/runs`, which answers `{"data": [{"status", "output"}]}`
(inngest.com/docs/examples/fetch-run-status-and-output). Inngest makes its own retries; one that
has failed there counts as one attempt here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import orjson

from bridge.activities.activity import (
    ActivityAway,
    ActivityFailed,
    Attempt,
    NotRetryable,
    Queued,
)
from bridge.joelclaw.inngest.api import (
    ABOUT_THE_EVENTS,
    EventApi,
    NotAccepted,
    Unanswered,
)
from bridge.message import JSON

FIRST_LOOK_S = 0.1
LAST_LOOK_S = 2.0
JSON_BODY = [(b"content-type", b"application/json")]


class InngestActivities:
    """Starts functions by events; `prefixes` of their names, by subsystem."""

    def __init__(self, api: EventApi, prefixes: Mapping[str, str]) -> None:
        self._api = api
        self._prefixes = prefixes

    def available(self, subsystem: str, activity: str) -> bool:
        return subsystem in self._prefixes

    def queued(self, attempt: Attempt) -> Queued | None:
        return None

    async def perform(self, attempt: Attempt) -> JSON:
        name = f"{self._prefixes[attempt.subsystem]}{attempt.activity}"
        event_id = await self._start(name, attempt)
        look_s = FIRST_LOOK_S
        while True:
            await asyncio.sleep(look_s)
            look_s = min(2 * look_s, LAST_LOOK_S)
            for run in await self._runs(event_id):
                attempt.beat()
                match run:
                    case {"status": "Completed", "output": output}:
                        return output
                    case {"status": "Failed", **more}:
                        raise ActivityFailed(f"{name} failed", output=more.get("output"))
                    case {"status": "Cancelled"}:
                        raise NotRetryable(f"{name} was cancelled")

    async def _start(self, name: str, attempt: Attempt) -> str:
        event = {
            "name": name,
            "data": attempt.request,
            # Not the call's alone: Inngest drops what it has had for 24 hours.
            "id": f"{attempt.id}/{attempt.number}",
        }
        try:
            answer = await self._api.send(orjson.dumps(event), JSON_BODY)
            return self._api.ids(answer, 1)[0]
        except Unanswered as error:
            kind = ActivityFailed if error.sent else ActivityAway
            raise kind(str(error)) from None
        except NotAccepted as error:
            about_it = answer.status in ABOUT_THE_EVENTS
            raise (NotRetryable if about_it else ActivityFailed)(str(error)) from None

    async def _runs(self, event_id: str) -> list[JSON]:
        """Return the runs an event has started; none, while Inngest does not tell."""
        try:
            answer = await self._api.call("GET", f"/v1/events/{event_id}/runs", b"", [])
            data = orjson.loads(answer.body)["data"]
        except (Unanswered, orjson.JSONDecodeError, LookupError, TypeError):
            return []
        return data if isinstance(data, list) else []
