"""Inngest's event API over HTTP, and the executor that sends `inngest` effects to it.

`POST {url}/e/{key}` takes one event or an array and answers `{"ids": [...], "status": 200}`
(inngest, pkg/api/api.go). The key is in the path: no text made here has it in it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import httpx
import orjson

from bridge.joelclaw.inngest.routes import check_url
from bridge.targets import EffectFailed, TargetAway

if TYPE_CHECKING:
    from bridge.journal.values import OutboxEntry
    from bridge.message import JSON

TIMEOUT_S = 5.0  # from the connection to the last byte of the answer
DEFAULT_KEY = "local"  # no secret: what BRIDGE_INNGEST_EVENT_KEY is unless set
EXCERPT = 200
TOGETHER = 100  # events in one request
# Client errors that are about the events. All others may pass: a 404 may be a proxy's that is up
# before its server, a 401 is about the key.
ABOUT_THE_EVENTS = frozenset({400, 409, 413, 415, 422})

Headers = list[tuple[bytes, bytes]]


class Answer(NamedTuple):
    """An HTTP answer, as it came or as it is to be sent."""

    status: int
    headers: Headers
    body: bytes


class Unanswered(Exception):
    """No whole answer came. `sent` says whether the request may have been taken."""

    def __init__(self, text: str, *, sent: bool) -> None:
        super().__init__(text)
        self.sent = sent


class NotAccepted(Exception):
    """An answer other than that the events were taken; the text says what was expected."""


class EventApi:
    """The real Inngest at `BRIDGE_INNGEST_URL`. Connections are kept; `close` ends them."""

    def __init__(self, url: str, event_key: str) -> None:
        """Raises BadSetting for a URL that is none."""
        self.where = check_url(url)
        self._url = url.rstrip("/")
        self._key = event_key
        self._client = httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False)

    async def send(self, body: bytes, headers: Iterable[tuple[bytes, bytes]]) -> Answer:
        """Post events, one object or an array. Raises Unanswered."""
        return await self.call("POST", f"/e/{quote(self._key, safe='')}", body, headers)

    async def call(
        self, method: str, target: str, body: bytes, headers: Iterable[tuple[bytes, bytes]]
    ) -> Answer:
        """Make any call; `target` is path and query. Raises Unanswered."""
        sent = [*headers, (b"accept-encoding", b"identity")]
        try:
            async with asyncio.timeout(TIMEOUT_S):
                response = await self._client.request(
                    method, self._url + target, content=body, headers=sent
                )
        except TimeoutError:
            text = f"{self.where}: no answer within {TIMEOUT_S:g} s"
            raise Unanswered(text, sent=True) from None
        except httpx.HTTPError as error:
            never = isinstance(
                error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout
            )
            text = (
                f"{self.where}: {type(error).__name__} {self._without_key(str(error))}".rstrip()
            )
            raise Unanswered(text, sent=not never) from None
        return Answer(response.status_code, response.headers.raw, response.content)

    def ids(self, answer: Answer, count: int) -> list[str]:
        """Return the ids Inngest gave `count` events. Raises NotAccepted."""
        try:
            body = orjson.loads(answer.body)
        except orjson.JSONDecodeError:
            body = None
        ids = body.get("ids") if isinstance(body, dict) else None
        if (
            answer.status == 200
            and isinstance(body, dict)
            and body.get("status") == 200
            and not body.get("error")
            and isinstance(ids, list)
            and len(ids) == count
            and all(isinstance(id, str) for id in ids)
        ):
            return ids
        came = answer.body[: 4 * EXCERPT].decode(errors="replace")
        raise NotAccepted(
            f'{self.where}: expected 200 {{"ids": [{count} of them], "status": 200}}, '
            f"got {answer.status} {self._without_key(came)[:EXCERPT]}".rstrip()
        )

    def _without_key(self, text: str) -> str:
        if self._key in ("", DEFAULT_KEY):
            return text
        for form in (self._key, quote(self._key, safe=""), json.dumps(self._key)[1:-1]):
            text = text.replace(form, "***")
        return text

    async def close(self) -> None:
        await self._client.aclose()


class Inngest:
    """Send `inngest` effects: `{name, data, id, ts}` each, one alone, several as an array.

    `id` makes Inngest drop a repeat within its deduplication window, `ts` is the commit's time.
    """

    together = TOGETHER

    def __init__(self, api: EventApi) -> None:
        self._api = api

    async def __call__(self, entries: Sequence[OutboxEntry]) -> None:
        events = [_event_of(entry) for entry in entries]
        body = orjson.dumps(events if len(events) > 1 else events[0])
        try:
            answer = await self._api.send(body, [(b"content-type", b"application/json")])
        except Unanswered as error:
            raise TargetAway(str(error)) from None
        try:
            self._api.ids(answer, len(events))
        except NotAccepted as error:
            if answer.status in ABOUT_THE_EVENTS:
                raise EffectFailed(str(error), final=True) from None
            raise TargetAway(str(error), retry_after_ms=_retry_after_ms(answer)) from None


def _event_of(entry: OutboxEntry) -> dict[str, JSON]:
    effect = entry.effect
    return {
        "name": effect["name"],
        "data": effect["data"],
        "id": effect["id"],
        "ts": entry.committed_ms,
    }


def _retry_after_ms(answer: Answer) -> int:
    """Read Retry-After (RFC 9110, 10.2.3): seconds, or a date beside the answer's own."""
    headers = {name.lower(): value.decode("latin-1") for name, value in answer.headers}
    wish = headers.get(b"retry-after", "").strip()
    if wish.isascii() and wish.isdecimal():
        return int(wish[:9]) * 1000
    try:
        until, now = parsedate_to_datetime(wish), parsedate_to_datetime(headers[b"date"])
        return max(0, int((until - now).total_seconds() * 1000))
    except (KeyError, TypeError, ValueError):
        return 0
