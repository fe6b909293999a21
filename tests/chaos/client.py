"""A client that never gives up: it reconnects, rejoins where it was, and sends again."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from bridge.client import socket_url
from bridge.message import JSON
from tests.chaos.recorder import Recorder

WINDOW = 8  # unanswered messages
STALLED_S = 4.0  # without an answer the socket is given up, as phoenix.js gives up a push
Choose = Callable[[], tuple[str, str, JSON]]  # topic, operation, request


@dataclass(slots=True)
class Pending:
    """A message that was not answered for good yet."""

    id: str
    topic: str
    operation: str
    request: JSON
    attempt: int = 0
    sent_at: float | None = None  # of the attempt that has no answer yet


class Client:
    """One client on several topics. `run` works until `stop`; `choose` is asked for messages
    while `working` is set."""

    def __init__(
        self,
        name: str,
        url: str,
        topics: Sequence[str],
        choose: Choose,
        recorder: Recorder,
        random: Random,
    ) -> None:
        self.name = name
        self.working = True
        self.pending: dict[str, Pending] = {}
        self.seen: dict[str, tuple[int, int]] = {}  # topic -> (seq, n) of the newest event
        self.counts: Counter[str] = Counter()
        self._url = socket_url(url)
        self.topics = topics
        self._choose = choose
        self._recorder = recorder
        self._random = random
        self._ids = itertools.count(1)
        self._connection = 0
        self._positions: dict[str, str] = {}
        self._reset()

    def _reset(self) -> None:
        self._socket: ClientConnection | None = None
        self._refs = itertools.count(1)
        self._joining: dict[str, tuple[str, str | None]] = {}  # ref -> (topic, since)
        self._join_refs: dict[str, str] = {}
        self._joined: set[str] = set()
        self._sent: dict[str, tuple[Pending, int]] = {}  # ref -> (message, attempt)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                async with connect(
                    self._url,
                    open_timeout=3,
                    close_timeout=0.1,
                    ping_interval=None,
                    compression=None,
                    max_size=None,
                    proxy=None,
                ) as socket:
                    await self._session(socket)
            except (OSError, WebSocketException, TimeoutError):
                self.counts["not connected"] += 1
            await asyncio.sleep(self._random.uniform(0.01, 0.2))

    def send_soon(self, topic: str, operation: str, request: JSON) -> Pending:
        """Add a message; it goes out with the next step."""
        message = Pending(f"{self.name}-{next(self._ids)}", topic, operation, request)
        self.pending[message.id] = message
        return message

    async def _session(self, socket: ClientConnection) -> None:
        self._reset()
        self._socket = socket
        self._connection += 1
        for message in self.pending.values():
            message.sent_at = None
        worker = asyncio.create_task(self._work(socket))
        try:
            async for text in socket:
                self._take(*json.loads(text))
        finally:
            self._socket = None
            for topic in self._joined:
                self._recorder.record("left", self.name, topic=topic)
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)

    async def _work(self, socket: ClientConnection) -> None:
        """Join what is not joined, send what was not sent, and give up a stalled socket."""
        while True:
            for topic in self.topics:
                if topic not in self._join_refs:
                    await self._join(topic)
            if self.working and len(self.pending) < WINDOW:
                self.send_soon(*self._choose())
            now = time.monotonic()
            for message in list(self.pending.values()):
                if message.sent_at is None and message.topic in self._joined:
                    await self._push(message)
                elif message.sent_at is not None and now - message.sent_at > STALLED_S:
                    self.counts["stalled"] += 1
                    socket.transport.abort()
                    return
            await asyncio.sleep(self._random.uniform(0, 0.03))

    async def _join(self, topic: str) -> None:
        ref, since = str(next(self._refs)), self._positions.get(topic)
        self._join_refs[topic] = ref
        self._joining[ref] = (topic, since)
        params = {} if since is None else {"since": since}
        await self._write([ref, ref, topic, "phx_join", params])

    async def _push(self, message: Pending) -> None:
        ref = str(next(self._refs))
        message.attempt += 1
        message.sent_at = time.monotonic()
        self._sent[ref] = (message, message.attempt)
        self.counts["sent"] += 1
        self._recorder.record(
            "sent",
            self.name,
            connection=self._connection,
            message_id=message.id,
            attempt=message.attempt,
            topic=message.topic,
            operation=message.operation,
            request=message.request,
        )
        payload = {**message.request, "message_id": message.id}
        join_ref = self._join_refs.get(message.topic)
        await self._write([join_ref, ref, message.topic, message.operation, payload])

    async def _write(self, frame: list[Any]) -> None:
        assert self._socket is not None
        await self._socket.send(json.dumps(frame))

    def _take(self, join_ref: str | None, ref: str, topic: str, event: str, body: Any) -> None:
        if event == "phx_reply":
            if ref in self._joining:
                self._take_join(*self._joining.pop(ref), body)
            elif ref in self._sent:
                self._take_answer(*self._sent.pop(ref), body)
        elif event in ("phx_error", "phx_close"):
            if topic in self._joined and join_ref == self._join_refs.get(topic):
                self._forget(topic)
        else:
            self._positions[topic] = body["position"]
            self.seen[topic] = max(self.seen.get(topic, (0, 0)), (body["seq"], body["n"]))
            self._recorder.record(
                "pushed",
                self.name,
                topic=topic,
                type=event,
                payload=body["payload"],
                seq=body["seq"],
                n=body["n"],
            )

    def _take_join(self, topic: str, since: str | None, body: JSON) -> None:
        if body["status"] != "ok":
            asyncio.get_running_loop().call_later(0.1, self._join_refs.pop, topic, None)
            return
        response = body["response"]
        resumed = since is not None and not response.get("gap")
        if not resumed:
            self._positions[topic] = response["position"]
        self.counts["resumed" if resumed else "joined"] += 1
        self._joined.add(topic)
        self._recorder.record("joined", self.name, topic=topic, resumed=resumed)

    def _take_answer(self, message: Pending, attempt: int, body: JSON) -> None:
        ok = body["status"] == "ok"
        self._recorder.record(
            "told",
            self.name,
            message_id=message.id,
            attempt=attempt,
            outcome="ok" if ok else "error",
            reply=body["response"],
        )
        code = "ok" if ok else body["response"]["code"]
        self.counts[code] += 1
        if code == "unmatched_topic":
            self._forget(message.topic)
        if code == "unmatched_topic" or (not ok and body["response"]["retryable"]):
            wait_s = self._random.uniform(0.02, 0.2)
            asyncio.get_running_loop().call_later(wait_s, self._again, message, attempt)
        else:
            self.pending.pop(message.id, None)

    def _again(self, message: Pending, attempt: int) -> None:
        if message.attempt == attempt:
            message.sent_at = None

    def _forget(self, topic: str) -> None:
        if topic in self._joined:
            self._joined.discard(topic)
            self._join_refs.pop(topic, None)
            self._recorder.record("left", self.name, topic=topic)
