"""What clients see of who is there, on any edge. One subclass for each."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from tests.edge.phoenix_js import has_phoenix_js, node, passes
from tests.edge.rig import Client, Rig, run

TOPIC = "room:a"
ANN = {"presence": {"id": "ann", "meta": {"device": "phone"}}}
BOB = {"presence": {"id": "bob"}}


async def until_told(client: Client, event: str) -> Any:
    """Return the next frame of this event."""
    while True:
        frame = await client.receive()
        if frame[3] == event:
            return frame


async def state(client: Client) -> Any:
    frame = await until_told(client, "presence_state")
    assert frame[:3] == ["1", None, TOPIC]
    return frame[4]


async def diff(client: Client) -> tuple[list[str], list[str]]:
    """Return the ids that came and went."""
    frame = await until_told(client, "presence_diff")
    assert frame[:3] == [None, None, TOPIC]
    return list(frame[4]["joins"]), list(frame[4]["leaves"])


class PresenceSuite:
    @contextlib.asynccontextmanager
    async def edges(self, count: int, **settings: Any) -> AsyncIterator[list[Rig]]:
        """Serve edges on one journal; `die` ends the first of them at once."""
        raise NotImplementedError
        yield []

    async def die(self, edge: Rig) -> None:
        raise NotImplementedError

    async def stop(self, edge: Rig) -> None:
        """Have an edge send its clients on."""
        raise NotImplementedError

    def test_who_joins_sees_who_is_there_and_others_see_who_came_and_went(self) -> None:
        async def main() -> None:
            async with self.edges(1) as [r], r.client() as watcher:
                await watcher.join(TOPIC)
                assert await state(watcher) == {}
                async with r.client() as client:
                    await client.join(TOPIC, ANN)
                    came = await until_told(watcher, "presence_diff")
                    [meta] = came[4]["joins"]["ann"]["metas"]
                    assert came[:3] == [None, None, TOPIC]
                    assert meta == {"device": "phone", "phx_ref": meta["phx_ref"]}
                    assert came[4]["leaves"] == {}
                    assert await state(client) == {"ann": {"metas": [meta]}}
                went = await until_told(watcher, "presence_diff")
                assert went[4] == {"joins": {}, "leaves": {"ann": {"metas": [meta]}}}

        run(main())

    def test_one_id_on_two_edges_is_there_until_both_left(self) -> None:
        async def main() -> None:
            async with (
                self.edges(2) as [one, two],
                one.client() as phone,
                two.client() as laptop,
                one.client() as watcher,
            ):
                await phone.join(TOPIC, ANN)
                assert len((await state(phone))["ann"]["metas"]) == 1
                await laptop.join(TOPIC, ANN)
                assert len((await state(laptop))["ann"]["metas"]) == 2
                await watcher.join(TOPIC)
                await state(watcher)
                await phone.send("1", "9", TOPIC, "phx_leave", {})
                assert await diff(watcher) == ([], ["ann"])
                async with two.client() as late:
                    await late.join(TOPIC)
                    assert len((await state(late))["ann"]["metas"]) == 1

        run(main())

    def test_who_comes_back_from_an_edge_that_died_was_never_away(self) -> None:
        async def main() -> None:
            async with self.edges(2) as [one, two], two.client() as watcher:
                await watcher.join(TOPIC)
                async with one.client() as client:
                    await client.join(TOPIC, ANN)
                    await state(client)
                    await self.die(one)
                async with two.client() as client:
                    await client.join(TOPIC, ANN)
                    assert len((await state(client))["ann"]["metas"]) == 2
                    assert await diff(watcher) == (["ann"], [])  # at first
                    assert await diff(watcher) == (["ann"], [])  # and again
                    assert await diff(watcher) == ([], ["ann"])  # the older, when it ended
                    await client.send("1", "9", TOPIC, "phx_leave", {})
                    assert await diff(watcher) == ([], ["ann"])

        run(main())

    def test_who_is_sent_on_is_not_seen_to_go(self) -> None:
        async def main() -> None:
            async with self.edges(2) as [one, two], two.client() as watcher:
                await watcher.join(TOPIC)
                async with one.client() as client:
                    await client.join(TOPIC, ANN)
                    assert await diff(watcher) == (["ann"], [])
                    await self.stop(one)
                    assert await client.closed() == 1012
                async with two.client() as client:
                    await client.join(TOPIC, ANN)
                    assert await diff(watcher) == (["ann"], [])

        run(main())

    def test_nobody_stays_whose_edge_died(self) -> None:
        async def main() -> None:
            async with self.edges(2) as [one, two], two.client() as watcher:
                await watcher.join(TOPIC)
                async with one.client() as client:
                    await client.join(TOPIC, BOB)
                    assert await diff(watcher) == (["bob"], [])
                    await self.die(one)
                assert await diff(watcher) == ([], ["bob"])

        run(main())

    def test_a_presence_that_is_none_is_refused(self) -> None:
        async def main() -> None:
            async with self.edges(1) as [r], r.client() as client:
                for topic, given, pointer in (
                    (TOPIC, {"id": ""}, "/presence/id"),
                    (TOPIC, {"id": "a", "meta": []}, "/presence/meta"),
                    (TOPIC, {"id": "a", "meta": {"text": "x" * 1024}}, "/presence/meta"),
                    (TOPIC, "ann", "/presence"),
                    ("counter:a", {"id": "ann"}, "/presence"),
                ):
                    await client.send("1", "1", topic, "phx_join", {"presence": given})
                    reply = await client.reply("1")
                    assert reply["response"]["code"] == "invalid_request", reply
                    assert reply["response"]["detail"]["pointer"] == pointer

        run(main())

    @has_phoenix_js
    def test_the_presence_of_phoenix_js_works_with_it(self) -> None:
        async def main() -> None:
            async with self.edges(1) as [r]:
                for version in ("1.8", "1.7"):
                    await passes(await node("presence.mjs", str(r.port), version))

        run(main())
