"""Real Redis servers: started, adopted, replaced, refused."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from bridge.settings import Settings
from bridge.up.place import StartFailed
from bridge.up.redis_server import (
    Binary,
    RedisServer,
    check_configured,
    disk_full,
    find_binary,
)
from tests.deadline import until
from tests.redis_server import RedisServer as OtherRedis
from tests.running import lives


def server(tmp_path: Path, appendfsync: str = "always") -> RedisServer:
    binary = find_binary()
    assert binary is not None
    return RedisServer(
        tmp_path / "redis", tmp_path / "redis.log", binary=binary, appendfsync=appendfsync
    )


def client(port: int) -> Any:
    retry = Retry(NoBackoff(), 0)
    return redis.Redis(port=port, socket_timeout=5, decode_responses=True, retry=retry)


def answers(port: int) -> bool:
    try:
        return bool(client(port).ping())
    except RedisConnectionError:
        return False


async def forget(first: RedisServer) -> int:
    """Leave the server running, as a killed `bridge up` does; return its pid."""
    child = first.child
    assert child is not None
    pid = child.pid
    assert pid is not None
    child._stopping.set()  # no restart: the supervisor is gone
    os.close(first._lock)
    return pid


def test_it_keeps_what_was_acknowledged_and_its_port_from_run_to_run(tmp_path: Path) -> None:
    async def scenario() -> None:
        first = server(tmp_path)
        await first.start()
        here = client(first.port)
        settings = here.config_get("append*", "maxmemory-policy", "save", "bind")
        assert settings["appendonly"] == "yes"
        assert settings["appendfsync"] == "always"
        assert settings["maxmemory-policy"] == "noeviction"
        assert settings["bind"] == "127.0.0.1"
        assert settings["save"] == ""
        here.set("kept", "1")
        await first.stop()
        assert not answers(first.port)
        second = server(tmp_path)
        await second.start()
        assert second.port == first.port
        assert client(second.port).get("kept") == "1"
        await second.stop()

    asyncio.run(scenario())


def test_a_killed_server_comes_back_with_its_data(tmp_path: Path) -> None:
    async def scenario() -> None:
        one = server(tmp_path)
        await one.start()
        client(one.port).set("kept", "1")
        assert one.child is not None
        assert one.child.pid is not None
        os.kill(one.child.pid, signal.SIGKILL)
        await until(lambda: one.child is not None and one.child.restarts == 1, "it was restarted")
        await until(lambda: answers(one.port), "it answers again")
        assert client(one.port).get("kept") == "1"
        await one.stop()

    asyncio.run(scenario())


def test_a_server_left_running_is_adopted_and_ended_in_the_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        first = server(tmp_path)
        await first.start()
        pid = await forget(first)
        second = server(tmp_path, appendfsync="everysec")
        await second.start()
        assert (second.adopted_pid, second.port, second.child) == (pid, first.port, None)
        assert client(second.port).config_get("appendfsync") == {"appendfsync": "everysec"}
        assert second.warning == (
            "appendfsync everysec: a crash of the machine may lose up to the last second"
        )
        await second.stop()
        await until(lambda: not lives(pid), "it is gone")

    asyncio.run(scenario())


def test_an_adopted_server_that_dies_is_replaced(tmp_path: Path) -> None:
    async def scenario() -> None:
        first = server(tmp_path)
        await first.start()
        pid = await forget(first)
        second = server(tmp_path)
        await second.start()
        os.kill(pid, signal.SIGKILL)
        await until(
            lambda: second.child is not None and answers(second.port), "a new one answers"
        )
        await second.stop()

    asyncio.run(scenario())


def test_a_server_left_behind_that_does_not_answer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.up.redis_server.START_TIMEOUT_S", 0.2)

    async def scenario() -> None:
        first = server(tmp_path)
        await first.start()
        pid = await forget(first)
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(StartFailed, match=f"end it with `kill {pid}`"):
                await server(tmp_path).start()
        finally:
            os.kill(pid, signal.SIGKILL)
        await until(lambda: not lives(pid), "it is gone")

    asyncio.run(scenario())


def test_a_taken_port_is_replaced(tmp_path: Path) -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            taken = other.getsockname()[1]
            (tmp_path / "redis").mkdir()
            (tmp_path / "redis" / "port").write_text(f"{taken}\n")
            one = server(tmp_path)
            await one.start()
            assert one.port != taken
            assert (tmp_path / "redis" / "port").read_text() == f"{one.port}\n"
            await one.stop()

    asyncio.run(scenario())


def pretend(folder: Path, name: str, version: str, family: str = "") -> Binary:
    """Write a program that says it is a Redis of that version."""
    path = folder / name
    family = family or name.removesuffix("-server")
    says = f"{family.title()} server v={version}.1 sha=0:0 malloc=libc bits=64"
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return Binary(str(path), family, tuple(map(int, version.split("."))))


def test_redis_is_taken_before_valkey_and_one_too_old_never(tmp_path: Path) -> None:
    old = pretend(tmp_path, "redis-server", "6.0")
    assert find_binary(str(tmp_path)) != old
    valkey = pretend(tmp_path, "valkey-server", "99.0")
    assert find_binary(str(tmp_path)) == valkey
    redis = pretend(tmp_path, "redis-server", "8.0")
    assert find_binary(str(tmp_path)) == redis
    disguised = pretend(tmp_path, "redis-server", "99.1", "valkey")
    assert find_binary(str(tmp_path)) == disguised


@pytest.mark.parametrize(
    ("wrote", "family", "version", "reads"),
    [
        ("redis 7.0", "redis", "6.2", False),
        ("redis 7.0", "redis", "7.0", True),
        ("redis 8.2", "redis", "8.0", False),
        ("redis 7.2", "valkey", "9.1", True),
        ("redis 7.4", "valkey", "9.1", False),
        ("valkey 8.0", "valkey", "9.1", True),
        ("valkey 8.0", "redis", "99.0", False),
        ("", "redis", "6.2", False),  # a directory of an older bridge: Redis 7 or newer
        ("", "valkey", "9.1", True),
    ],
)
def test_a_directory_stays_with_who_can_read_it(
    tmp_path: Path, wrote: str, family: str, version: str, reads: bool
) -> None:
    data = tmp_path / "redis"
    (data / "appendonlydir").mkdir(parents=True)
    if wrote:
        (data / "written-by").write_text(f"{wrote}\n")
    binary = pretend(tmp_path, f"{family}-server", version)
    one = RedisServer(data, tmp_path / "log", binary=binary, appendfsync="always")
    with pytest.raises(StartFailed) as caught:  # what can read it is no server, only says so
        asyncio.run(one.start())
    refused = f"was written by {wrote or 'redis 7.0'}, which {binary} cannot read"
    assert (refused in str(caught.value)) is not reads


def test_of_several_servers_the_one_that_can_read_the_data_is_taken(tmp_path: Path) -> None:
    data = tmp_path / "redis"
    data.mkdir()
    (data / "written-by").write_text("valkey 8.1\n")
    pretend(tmp_path, "redis-server", "99.0")
    valkey = pretend(tmp_path, "valkey-server", "9.0")
    assert find_binary(str(tmp_path), data) == valkey


@pytest.mark.parametrize(
    ("appendonly", "policy", "line"),
    [
        (False, "noeviction", "appendonly yes"),
        (True, "allkeys-lru", "maxmemory-policy noeviction"),
    ],
)
def test_a_configured_server_that_would_lose_data_is_refused_with_the_line_to_set(
    appendonly: bool, policy: str, line: str
) -> None:
    with OtherRedis(appendonly=appendonly, policy=policy) as other:
        with pytest.raises(StartFailed, match=line):
            asyncio.run(check_configured(Settings(redis_url=other.url)))
        unsafe = Settings(redis_url=other.url, redis_unsafe=True)
        assert line in asyncio.run(check_configured(unsafe))


def test_a_configured_server_that_keeps_everything_is_taken() -> None:
    with OtherRedis() as other:
        assert asyncio.run(check_configured(Settings(redis_url=other.url))) == ""


def test_a_configured_server_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.up.redis_server.CONFIGURED_TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(StartFailed, match="BRIDGE_REDIS_URL: no answer"):
        asyncio.run(check_configured(Settings(redis_url=f"redis://127.0.0.1:{port}/0")))


def test_a_configured_address_that_is_none_is_told() -> None:
    with pytest.raises(StartFailed, match="BRIDGE_REDIS_URL"):
        asyncio.run(check_configured(Settings(redis_url="http://127.0.0.1")))


def slow(folder: Path) -> Binary:
    """Write a program that is Redis, but takes its time with each command."""
    found = find_binary()
    assert found is not None
    path = folder / "slow-redis"
    options = "--key-load-delay 150 --loading-process-events-interval-bytes 1024"
    path.write_text(f'#!/bin/sh\nexec {found.path} "$@" {options}\n')
    path.chmod(0o755)
    return Binary(str(path), found.family, found.version)


def test_a_server_that_loads_its_data_is_waited_for_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        first = server(tmp_path)
        await first.start()
        pipeline = client(first.port).pipeline(transaction=False)
        for n in range(20_000):
            pipeline.set(f"key-{n}", "x" * 100)
        pipeline.execute()
        await first.stop()
        said: list[str] = []
        monkeypatch.setattr("bridge.up.redis_server.START_TIMEOUT_S", 1.0)
        second = RedisServer(
            tmp_path / "redis",
            tmp_path / "redis.log",
            binary=slow(tmp_path),
            appendfsync="always",
            say=said.append,
        )
        starting = asyncio.create_task(second.start())
        await until(lambda: second.port != 0 and bool(said), "it says that it loads")
        settings = Settings(redis_url=f"redis://127.0.0.1:{second.port}/0")
        monkeypatch.setattr("bridge.up.redis_server.CONFIGURED_TIMEOUT_S", 2.0)
        assert await check_configured(settings, said.append) == ""
        await starting
        assert second.child is not None
        assert second.child.restarts == 0
        assert client(second.port).get("key-19999") == "x" * 100
        assert len(said) >= 2
        for text in said:
            assert re.fullmatch(r"redis: loads its data, \d+\.\d+ %, \d+ s to go", text)
        await second.stop()

    asyncio.run(scenario())


def test_why_a_server_ended_is_told_in_its_own_words(tmp_path: Path) -> None:
    async def scenario() -> None:
        first = server(tmp_path)
        await first.start()
        client(first.port).set("kept", "1")
        await first.stop()
        [written] = (tmp_path / "redis" / "appendonlydir").glob("*.incr.aof")
        written.write_bytes(b"nonsense" + written.read_bytes())
        with pytest.raises(StartFailed, match="Bad file format reading the append only file"):
            await server(tmp_path).start()

    asyncio.run(scenario())


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert disk_full(tmp_path) is None
    monkeypatch.setattr("bridge.up.redis_server.LEAST_FREE_BYTES", 2**63)
    full = disk_full(tmp_path)
    assert full is not None
    assert full.startswith(f"the disk of {tmp_path} is full (")
    assert server(tmp_path).last_words().startswith("the disk of ")
