"""A commit whose script ends half way: found, said, set aside, and ended from its entry."""

from __future__ import annotations

import asyncio
import hashlib
import re
from typing import Any

import pytest

from bridge.canonical import digest
from bridge.errors import BridgeError
from bridge.journal.redis import RedisJournal
from bridge.journal.values import Commit, Same
from bridge.message import Version
from bridge.redis.client import Script
from tests.journal.case import SUBSYSTEM, emit, ids, inngest, prepare, schedule
from tests.redis_server import RedisServer

WRITES = 13  # of the commit below, behind the mark
MARK = "redis.call('HSET', P .. 'state:' .. key, 'open', message_id)"


def broken_after(journal: RedisJournal, writes: int) -> Script:
    """Return the commit script with an error after so many writes of its own behind the mark."""
    source = journal._client._scripts["commit"].source.decode()
    head, mark, tail = source.partition(MARK)
    assert mark
    counted = re.sub(
        r"redis\.p?call\('(HSET|XADD|SET|ZADD|RPUSH|ZREM|DEL)'",
        r"counted('\1'",
        head + mark + tail,
    )
    prelude = f"""
local left, marked = {writes}, false
local function counted(...)
  if marked then
    if left == 0 then error('in the middle') end
    left = left - 1
  end
  marked = marked or select(3, ...) == 'open'
  return redis.call(...)
end
"""
    text = (prelude + counted).encode()
    return Script(text, hashlib.sha1(text).hexdigest())


async def prepared(journal: RedisJournal, id: str, *effects: Any) -> Commit:
    """Prepare a commit whose entry has what the dispatcher writes."""
    effects = effects or (emit(), inngest("a"), schedule("t"), inngest("b", unordered=True))
    return await prepare(
        journal,
        id,
        *effects,
        fingerprint=digest(["k", "add", {"n": 1}]),
        idempotency=digest(["k", "add", "once"]) if id == "m2" else "",
    )


async def all_of(journal: RedisJournal) -> list[Any]:
    return [
        (await journal.read(SUBSYSTEM, "k"))._replace(now_ms=0, base=None),
        [entry for _, entry in await journal.entries(SUBSYSTEM)],
        [event.id for event in await journal.events_after(SUBSYSTEM, "0-0")],
        await journal.has_gap(SUBSYSTEM, "0-0"),
        sorted(ids(await journal.outbox(SUBSYSTEM))),
        await journal.timers(SUBSYSTEM),
    ]


@pytest.mark.parametrize("writes", range(WRITES + 1))
def test_a_commit_that_ended_half_way_is_set_aside_and_mended(writes: int) -> None:
    async def scenario(url: str) -> None:
        journal, plain = RedisJournal(url), RedisJournal(url)
        await journal.ensure_route(SUBSYSTEM, "python", None)
        assert (await journal.commit(await prepared(journal, "m1"), 5000)).status == "committed"
        whole = journal._client._scripts["commit"]
        journal._client._scripts["commit"] = broken_after(journal, writes)
        second = await prepared(journal, "m2")
        if writes == WRITES:
            assert (await journal.commit(second, 5000)).status == "committed"
            return
        with pytest.raises(BridgeError, match="commit of m2 ended half way") as caught:
            await journal.commit(second, 5000)
        assert caught.value.code == "storage_unavailable"
        assert "`bridge journal mend counter`" in str(caught.value)
        journal._client._scripts["commit"] = whole
        # The state is what it was, and nobody goes on with it; other keys are not concerned.
        snapshot = await plain.read(SUBSYSTEM, "k", "m2")
        assert (snapshot.version, snapshot.done) == (Version(1, "m1"), None)
        for id in ("m2", "m3"):
            with pytest.raises(BridgeError, match="is set aside"):
                await plain.commit(await prepared(plain, id), 5000)
        assert (await plain.commit(await prepare(plain, "m4", key="other"), 5000)).status
        assert await plain.unfinished(SUBSYSTEM) == ["k"]

        done = await plain.mend(SUBSYSTEM, "k", lambda operation, request: Same(request, "once"))
        assert await plain.unfinished(SUBSYSTEM) == []
        again = await plain.commit(second, 5000)
        if writes == 0:
            assert done == "m2 had written nothing: forgotten"
            assert again.status == "committed"
        else:
            assert done == "m2 is committed as seq 2"
            assert again.status == "duplicate"
        found = await all_of(plain)
        assert found[0].version == Version(2, "m2")
        assert [e["id"] for e in found[1] if e["key"] == "k"] == ["m1", "m2"]
        assert found[2] == ["m1/0", "m2/0"]
        assert found[3] is False
        assert found[4] == sorted(["m1/1", "m1/3", "m2/1", "m2/3"])
        assert [timer.set_by for timer in found[5]] == ["m2/2"]
        assert await plain.mend(SUBSYSTEM, "k", lambda *_: Same({})) == "nothing to mend"
        await journal.close()
        await plain.close()

    with RedisServer(appendfsync="no") as server:
        asyncio.run(scenario(server.url))


def test_half_a_commit_that_only_a_later_one_meets_is_found() -> None:
    async def scenario(url: str) -> None:
        journal = RedisJournal(url)
        await journal.ensure_route(SUBSYSTEM, "python", None)
        await journal._call(
            SUBSYSTEM, "HSET", f"joelclaw:bridge:{{{SUBSYSTEM}}}:state:k", "open", "m"
        )
        with pytest.raises(BridgeError, match="is set aside"):
            await journal.commit(await prepared(journal, "m1"), 5000)
        assert await journal.unfinished(SUBSYSTEM) == ["k"]
        await journal.close()

    with RedisServer(appendfsync="no") as server:
        asyncio.run(scenario(server.url))


def test_a_state_that_is_not_the_journals_becomes_the_last_entrys() -> None:
    async def scenario(url: str) -> None:
        journal = RedisJournal(url)
        await journal.ensure_route(SUBSYSTEM, "python", None)
        for id in ("m1", "m3"):
            assert (await journal.commit(await prepared(journal, id), 5000)).status
        whole = (await journal.read(SUBSYSTEM, "k"))._replace(base=None)
        # What a Redis without XADD left of three attempts, before commands were tried.
        changed = ("seq", 5, "id", "m9", "state", '{"last":"m9"}')
        await journal._call(
            SUBSYSTEM, "HSET", f"joelclaw:bridge:{{{SUBSYSTEM}}}:state:k", *changed
        )
        done = await journal.mend(SUBSYSTEM, "k", lambda *_: Same({}))
        assert done == "the state was seq 5, and is that of the last entry, 2"
        assert (await journal.read(SUBSYSTEM, "k"))._replace(now_ms=whole.now_ms) == whole
        assert await journal.mend(SUBSYSTEM, "k", lambda *_: Same({})) == "nothing to mend"
        missing = await journal.mend(SUBSYSTEM, "nothing", lambda *_: Same({}))
        assert missing == "the journal has no entry of it: nothing was done"
        await journal.close()

    with RedisServer(appendfsync="no") as server:
        asyncio.run(scenario(server.url))
