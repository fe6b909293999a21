"""A Redis that does not allow something: nothing moves, it is named, and gone on with after."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from bridge.errors import BridgeError
from bridge.journal.redis import RedisJournal
from bridge.message import Version
from bridge.redis.client import UNTRIED, load_scripts
from bridge.redis.keys import SCRATCH
from bridge.redis.server import UnsafeServer, check_server
from tests.deadline import DEADLINE_S
from tests.journal.case import SUBSYSTEM, cancel, emit, inngest, prepare, schedule
from tests.redis_server import RedisServer, executables

JOURNAL = Path(__file__).parents[2] / "bridge" / "journal"
WRITES = frozenset(
    (
        *("DEL", "HDEL", "HINCRBY", "HSET", "LPOP", "RPUSH", "SADD", "SET", "SREM"),
        *("XADD", "XDEL", "XTRIM", "ZADD", "ZREM"),
    )
)
CALL = re.compile(r"redis\.p?call\('([A-Z]+)'")
EFFECTS = (emit(), inngest(), schedule(), cancel("other"))


def commands_of(source: str) -> set[str]:
    return set(CALL.findall(source))


def every_command() -> set[str]:
    """Return what scripts call, and what is sent through `call` and `block`."""
    found = set[str]()
    for path in (JOURNAL / "lua").glob("*.lua"):
        found |= commands_of(path.read_text())
    for path in JOURNAL.glob("*.py"):
        found |= set(re.findall(r'"([XLSHZ][A-Z]{3,})"', path.read_text()))
    return found - {"SELECT", "SETNAME", "LOADING", "STREAMS"}


COMMIT = {"TIME"} | commands_of((JOURNAL / "lua/commit.lua").read_text())
UNUSED = {"HGET", "LRANGE", "XRANGE"} | every_command() - COMMIT  # in a first commit of a key
COMMANDS = sorted(every_command())


def tried() -> set[str]:
    source = (JOURNAL / "lua/probe.lua").read_text()
    return set(re.findall(r"^try\('([A-Z]+)'", source, re.MULTILINE))


def test_every_command_of_the_scripts_is_tried_before_one_writes() -> None:
    assert every_command() - tried() == set()


def test_scripts_that_run_untried_write_nothing() -> None:
    scripts = load_scripts()
    prelude = (JOURNAL / "lua/prelude.lua").read_text()
    for name in UNTRIED - {"call", "probe", "storage", "workers"}:
        own = scripts[name].source.decode().removeprefix(prelude)
        assert commands_of(own) & WRITES == set(), name


@pytest.fixture(params=sorted(executables()))
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with RedisServer(binary=executables()[request.param], appendfsync="no") as server:
        yield server


def allow(control: redis.Redis, *rules: str) -> str:
    user = ("ACL", "SETUSER", "bridge", "reset", "on", ">pw", "~*", "&*", *rules)
    control.execute_command(*user)  # type: ignore[no-untyped-call] # redis-py has no types for it
    return "redis://bridge:pw@127.0.0.1"


@pytest.fixture
def control(server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as control:
        yield control


async def everything(journal: RedisJournal) -> list[Any]:
    return [
        [
            (key, (await journal.read(SUBSYSTEM, key))._replace(now_ms=0, base=None))
            for key in await journal.keys(SUBSYSTEM)
        ],
        await journal.entries(SUBSYSTEM),
        await journal.events_after(SUBSYSTEM, "0-0"),
        await journal.outbox(SUBSYSTEM),
        await journal.timers(SUBSYSTEM),
    ]


async def until_it_answers(journal: RedisJournal, commit: Any) -> Any:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                return await journal.commit(commit, 5000)
            except BridgeError:
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_is_no_longer_allowed_stops_commits_as_a_whole(
    command: str, server: RedisServer, control: redis.Redis
) -> None:
    async def scenario() -> None:
        url = f"{allow(control, '+@all')}:{server.port}"
        journal, looking = RedisJournal(url), RedisJournal(server.url)
        try:
            await journal.ensure_route(SUBSYSTEM, "python", None)
            first = await prepare(journal, "m1", *EFFECTS)
            assert (await journal.commit(first, 5000)).status == "committed"
            before = await everything(looking)
            commit = await prepare(journal, "m2", *EFFECTS)
            allow(control, "+@all", f"-{command.lower()}")
            for key in ("another", "k", "k"):
                again = await prepare(looking, "m2", *EFFECTS, key=key)
                if command in UNUSED:
                    assert (await journal.commit(again, 5000)).status == "committed"
                    return
                with pytest.raises(BridgeError, match=command) as caught:
                    await journal.commit(again, 5000)
                assert caught.value.code == "storage_unavailable"
                keys, *rest = await everything(looking)
                assert [each for each in keys if each[1].version.seq] == before[0]
                assert rest == before[1:]
            for state in control.keys("*:state:*"):
                assert control.hget(state, "open") in (None, b""), "half a commit"
            with pytest.raises(UnsafeServer, match=command):
                await check_server(url)
            allow(control, "+@all")
            assert (await until_it_answers(journal, commit)).version == Version(2, "m2")
            assert len(await looking.entries(SUBSYSTEM)) == 2
            assert control.keys(f"{SCRATCH}*") == []
        finally:
            await journal.close()
            await looking.close()

    asyncio.run(scenario())


def test_a_full_redis_is_named_and_gone_on_with(
    server: RedisServer, control: redis.Redis
) -> None:
    async def scenario() -> None:
        journal = RedisJournal(server.url)
        await journal.ensure_route(SUBSYSTEM, "python", None)
        commit = await prepare(journal, "m1", *EFFECTS)
        control.config_set("maxmemory", "1")
        with pytest.raises(BridgeError, match="OOM") as caught:
            await journal.commit(commit, 5000)
        assert caught.value.code == "storage_unavailable"
        assert "OOM" in journal.storage.refused
        with pytest.raises(BridgeError, match="OOM"):
            await check_server(server.url)
        control.config_set("maxmemory", "0")
        assert (await until_it_answers(journal, commit)).status == "committed"
        assert journal.storage.refused == ""
        await journal.close()

    asyncio.run(scenario())
