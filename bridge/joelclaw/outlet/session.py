"""Deliver to a joelclaw session: push to its list, as joelclaw's own services do."""

from __future__ import annotations

import asyncio
import contextlib

from bridge.joelclaw.outlet.outlet import DeliveryFailed, NotNow
from bridge.joelclaw.push import Away, Pushed, Pusher, Refused, envelope_id
from bridge.journal.values import Delivery, Event
from bridge.message import JSON

SOURCE = "bridge/outlet"
PATIENCE_S = 10.0
RING_AGAIN_S = 1.0
FIRST_LOOK_S = 0.01
LAST_LOOK_S = 0.5


class SessionReceiver:
    """Whoever reads the session's list has it then; joelclaw keeps it until somebody does.

    joelclaw's readers take a list whole and then delete it, with what was pushed in between; the
    pi extension also puts reading off by five seconds at each doorbell. So the next one is pushed
    when the reader has emptied the list, or has not for `patience_s`. The daemon does not hear a
    doorbell while it reads: what lies there after a second is rung for once more.
    """

    present = True

    def __init__(
        self,
        pusher: Pusher,
        session: str,
        *,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._pusher = pusher
        self._session = session
        self._patience_s = patience_s
        self._ringing: asyncio.Task[None] | None = None

    async def change(self, present: bool) -> None:
        await asyncio.Event().wait()  # it is always there

    async def deliver(self, delivery: Delivery) -> bool:
        loop = asyncio.get_running_loop()
        deadline, pause_s = loop.time() + self._patience_s, FIRST_LOOK_S
        try:
            event, began = delivery.event, loop.time()
            now_ms = await self._pusher.now_ms()
            while (
                await self._push(
                    system_event_of(event, now_ms + int((loop.time() - began) * 1000)),
                    event.id,
                    after_others=loop.time() < deadline,
                )
                == "unread"
            ):
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 1.5, LAST_LOOK_S)
        except Away as error:
            raise NotNow(str(error)) from None
        except Refused as error:
            raise DeliveryFailed(str(error)) from None
        return False

    async def _push(
        self, system_event: dict[str, JSON], effect_id: str, *, after_others: bool
    ) -> Pushed:
        pushed = await self._pusher.push(
            self._session, effect_id, system_event, after_others=after_others
        )
        if pushed == "pushed":
            if self._ringing is not None:
                self._ringing.cancel()
            self._ringing = asyncio.create_task(self._ring_again(system_event))
        return pushed

    async def _ring_again(self, system_event: dict[str, JSON]) -> None:
        await asyncio.sleep(RING_AGAIN_S)
        with contextlib.suppress(Away, Refused):
            await self._pusher.ring_again(self._session, system_event)


def system_event_of(event: Event, now_ms: int) -> dict[str, JSON]:
    """Return what joelclaw's readers take: all five fields, and what they act on in a payload.

    `ts` is the time of the push, as everybody's is: the pi extension drops what is older than
    five minutes, however long it was on its way. `originSession` is where the daemon answers.
    What a single event had in its payload stands in this one's too, such as its `level`.
    """
    events = event.payload.get("events", [])
    own = events[0]["payload"] if len(events) == 1 else {}
    payload = {**own, **event.payload}
    if origin := event.payload.get("origin_session"):
        payload["originSession"] = origin
    return {
        "id": envelope_id(event.id),
        "type": event.type,
        "source": SOURCE,
        "payload": payload,
        "ts": now_ms,
    }
