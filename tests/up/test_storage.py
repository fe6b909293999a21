"""A bridge whose Redis is flushed, cut, or forbidden to do something: said, and clients told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from bridge.client import Client, connected
from bridge.up.storage import FILE
from tests.deadline import DEADLINE_S, until
from tests.redis_server import RedisServer
from tests.running import ALONE, SUBSYSTEMS, Up, answered, bridge

FOLDERS = (
    "--contracts",
    str(SUBSYSTEMS),
    "--implementations",
    str(SUBSYSTEMS / "implementations.json"),
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "bridge"


def up(directory: Path, **changes: str) -> Up:
    return Up(directory, *FOLDERS, **ALONE, **changes)


def control_of(running: Up) -> redis.Redis:
    return redis.Redis.from_url(running.run["redis_url"])


async def next_of(client: Client, name: str) -> Any:
    """Return the payload of the next event of this name."""
    async with asyncio.timeout(DEADLINE_S):
        while (event := await client.events.get()) is not None:
            if event[1] == name:
                return event[2]
    raise AssertionError("the socket was closed")


@pytest.mark.slow
def test_a_flush_is_said_everywhere_and_clients_join_again_with_a_gap(directory: Path) -> None:
    async def scenario(running: Up) -> None:
        url = running.run["url"]
        async with connected(url) as client, connected(url) as other:
            await client.join("counter:k")
            await other.join("counter:other")  # nothing ever happened on its key
            await client.push("counter:k", "add", {"n": 1})
            position = (await next_of(client, "counter.added"))["position"]
            with control_of(running) as control:
                before = control.hget("joelclaw:bridge:storage", "id")
                control.flushall()
            await next_of(client, "phx_error")
            await next_of(other, "phx_error")
            again = await answered(partial(client.join, "counter:k", {"since": position}))
            assert again["gap"] is True
            assert before is not None
            assert not again["position"].startswith(before.decode())
            await answered(partial(client.push, "counter:k", "add", {"n": 1}))
            assert (await next_of(client, "counter.added"))["seq"] == 1
        said = f"in place of {before.decode()[:8]}: it was flushed, or is another server"
        await until(lambda: said in running.output, "bridge up says it")
        for command in ("status", "doctor", "storage", ("journal", "verify")):
            words = (command,) if isinstance(command, str) else command
            done = await asyncio.to_thread(bridge, directory, *words)
            assert said in done.stdout + done.stderr, command
        assert bridge(directory, "storage", "accept").returncode == 0
        assert bridge(directory, "journal", "verify").returncode == 0

    with up(directory) as running:
        asyncio.run(scenario(running))


@pytest.mark.parametrize("key", ["route", "state:k", "runtime:typescript"])
def test_a_key_of_another_type_is_named_and_the_rest_goes_on(directory: Path, key: str) -> None:
    name = f"joelclaw:bridge:{{counter}}:{key}"
    said = f"Redis key {name} is a string"
    asked = ("call", "counter:k", "add", '{"n": 1}')
    with up(directory) as running:
        assert bridge(directory, *asked).returncode == 0
        with control_of(running) as control:
            control.delete(name)
            control.set(name, "not the bridge's")
            if key == "runtime:typescript":
                noted = "joelclaw:bridge:{counter}:damaged"
                asyncio.run(until(lambda: control.exists(noted), "the runtime met it"))
            else:
                done = bridge(directory, *asked)
                assert (done.returncode, said in done.stdout) == (1, True), done.stdout
        for command in ("status", "doctor", "storage", "outbox", "routes"):
            done = bridge(directory, command)
            if command not in ("outbox", "routes"):
                assert said in done.stdout + done.stderr, command
            assert done.returncode == (command == "storage"), command
        assert bridge(directory, "call", "heartbeat:main", "status").returncode == 0
    with up(directory) as again:
        assert said in again.output
        assert bridge(directory, "call", "heartbeat:main", "status").returncode == 0
        with control_of(again) as control:
            control.delete(name)
        done = bridge(directory, "storage")
        assert (done.returncode, done.stderr) == (0, "")


def test_a_directory_of_an_older_version_is_refused_with_the_way_out(directory: Path) -> None:
    with up(directory) as running, control_of(running) as control:
        control.hdel("joelclaw:bridge:storage", "format")
    done = bridge(directory, "up", "--check", **ALONE)
    assert done.returncode == 1
    assert "the journal there has form 1, of an older version of the bridge" in done.stderr
    assert "`bridge journal export`" in done.stderr


@pytest.mark.slow
def test_a_file_cut_at_its_end_is_told_from_one_that_is_whole(directory: Path) -> None:
    for _ in range(2):
        with up(directory) as running:
            assert "storage:" not in running.output
            done = bridge(directory, "call", "counter:k", "add", '{"n": 1}')
            assert done.returncode == 0, done.stderr
    assert json.loads((directory / FILE).read_text())["whole"] is True
    [written] = (directory / "redis" / "appendonlydir").glob("*.incr.aof")
    text = written.read_bytes()
    written.write_bytes(text[: text.rindex(b":journal\r\n")])  # in the middle of the commit
    with up(directory) as running:
        assert "storage: " in running.output
        assert "counter lacks the entry " in running.output
        assert "counter lacks the entry " in bridge(directory, "doctor").stdout
        done = bridge(directory, "journal", "verify")
        assert (done.returncode, "counter lacks the entry " in done.stderr) == (1, True)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def test_a_redis_that_does_not_allow_a_command_is_refused_by_its_name(
    server: RedisServer, directory: Path
) -> None:
    with redis.Redis.from_url(server.url) as control:
        user = ("ACL", "SETUSER", "bridge", "reset", "on", ">pw", "~*", "&*", "+@all", "-xadd")
        control.execute_command(*user)
    url = f"redis://bridge:pw@127.0.0.1:{server.port}/0"
    done = bridge(directory, "up", "--check", "--port", "0", BRIDGE_REDIS_URL=url, **ALONE)
    assert done.returncode == 1
    assert "its ACL does not allow XADD: `ACL SETUSER <user> +xadd`" in done.stderr
    looked = bridge(directory, "doctor", BRIDGE_REDIS_URL=url)
    assert looked.returncode == 1
    assert "does not allow XADD" in looked.stdout


def test_a_permission_that_goes_while_it_runs_stops_commits_until_it_is_back(
    server: RedisServer, directory: Path
) -> None:
    def allow(*rules: str) -> None:
        user = ("ACL", "SETUSER", "bridge", "on", ">pw", "~*", "&*", "+@all", *rules)
        with redis.Redis.from_url(server.url) as control:
            control.execute_command(*user)

    def add(id: str) -> Any:
        return bridge(directory, "call", "counter:k", "add", '{"n": 1}', "--id", id)

    allow()
    url = f"redis://bridge:pw@127.0.0.1:{server.port}/0"
    with up(directory, BRIDGE_REDIS_URL=url):
        assert json.loads(add("one").stdout)["total"] == 1
        allow("-xadd")
        for _ in range(3):
            done = add("two")
            assert json.loads(done.stdout)["code"] == "storage_unavailable"
            assert "XADD" in done.stdout
        assert "does not allow XADD" in bridge(directory, "status").stderr
        allow("+xadd")
        answers = (add("two") for _ in range(100))
        assert json.loads(next(a for a in answers if a.returncode == 0).stdout)["total"] == 2
        assert json.loads(add("two").stdout)["total"] == 2
        assert bridge(directory, "journal", "verify").returncode == 0
