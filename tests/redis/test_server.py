"""A Redis is looked at before it is trusted; its URL is read as redis-py reads it."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
import redis

from bridge.errors import BridgeError
from bridge.journal.redis import RedisJournal
from bridge.redis.address import Address, Tls
from bridge.redis.server import UnsafeServer, check_server
from tests.redis_server import RedisServer, free_port


def test_a_durable_redis_is_reported() -> None:
    with RedisServer() as server:
        report = asyncio.run(check_server(server.url))
    assert (report.appendonly, report.appendfsync) == (True, "always")
    assert (report.eviction, report.problems) == ("noeviction", ())
    assert tuple(map(int, report.version.split(".")[:2])) >= (6, 2)


def test_everysec_is_accepted_and_told() -> None:
    with RedisServer(appendfsync="everysec") as server:
        assert asyncio.run(check_server(server.url)).appendfsync == "everysec"


def test_a_redis_without_append_only_file_is_refused_with_the_line_to_set() -> None:
    with RedisServer(appendonly=False) as server:
        with pytest.raises(UnsafeServer, match=r"`appendonly yes` into redis\.conf") as caught:
            asyncio.run(check_server(server.url))
        assert "redis-cli CONFIG SET appendonly yes" in str(caught.value)
        report = asyncio.run(check_server(server.url, unsafe=True))
    assert len(report.problems) == 1
    assert not report.appendonly


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_redis_that_evicts_is_refused_with_the_line_to_set(policy: str) -> None:
    with RedisServer(policy=policy) as server:
        with pytest.raises(UnsafeServer, match="CONFIG SET maxmemory-policy noeviction"):
            asyncio.run(check_server(server.url))
        report = asyncio.run(check_server(server.url, unsafe=True))
    assert report.eviction == policy
    assert len(report.problems) == 1


def test_a_replica_is_refused_even_when_unsafe_ones_are_not() -> None:
    with RedisServer() as server, redis.Redis.from_url(server.url) as control:
        control.replicaof("127.0.0.1", "1")
        with pytest.raises(UnsafeServer, match="replica"):
            asyncio.run(check_server(server.url, unsafe=True))


def test_a_redis_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(BridgeError) as caught:
        asyncio.run(check_server(f"redis://127.0.0.1:{free_port()}/0"))
    assert caught.value.code == "storage_unavailable"


def test_a_redis_that_hangs_is_unavailable_in_time() -> None:
    with RedisServer() as server:
        server.stop()
        with pytest.raises(BridgeError, match="does not answer") as caught:
            asyncio.run(check_server(server.url, timeout_ms=100))
        assert caught.value.code == "storage_unavailable"


def test_password_and_database_of_the_url_are_used() -> None:
    async def use(url: str) -> int:
        journal = RedisJournal(url)
        try:
            return (await journal.set_route("counter", "python", None)).epoch
        finally:
            await journal.close()

    with RedisServer(requirepass="se cret") as server:
        url = f"redis://:se%20cret@127.0.0.1:{server.port}"
        assert asyncio.run(use(url)) == 1
        assert asyncio.run(use(f"{url}/1")) == 1
        assert asyncio.run(use(f"{url}/1")) == 2
        with pytest.raises(BridgeError, match="NOAUTH"):
            asyncio.run(use(server.url))
        with pytest.raises(BridgeError, match="WRONGPASS"):
            asyncio.run(use(f"redis://:wrong@127.0.0.1:{server.port}"))


def test_a_unix_socket_is_an_address_too() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "redis.sock")
        with RedisServer(unixsocket=str(path)):
            report = asyncio.run(check_server(f"unix://{path}"))
    assert report.appendonly


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://h:7/3", Address("h", 7, "", "", "", 3, None)),
        ("redis://h", Address("h", 6379, "", "", "", 0, None)),
        ("rediss://u:p%40@h:7/", Address("h", 7, "", "u", "p@", 0, Tls())),
        (
            "rediss://h/?ssl_ca_certs=/a.pem&ssl_certfile=/b.pem&ssl_keyfile=/c.pem",
            Address("h", 6379, "", "", "", 0, Tls("/a.pem", "/b.pem", "/c.pem")),
        ),
        ("redis://h:7?db=2", Address("h", 7, "", "", "", 2, None)),
        ("redis://[::1]:7/0", Address("::1", 7, "", "", "", 0, None)),
        ("unix:///run/r.sock?db=1", Address("localhost", 6379, "/run/r.sock", "", "", 1, None)),
    ],
)
def test_urls_are_read(url: str, address: Address) -> None:
    assert Address.parse(url) == address


@pytest.mark.parametrize("url", ["", "h:7", "http://h", "redis://h/x", "redis://h:x/0"])
def test_what_is_no_redis_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Address.parse(url)


def test_an_address_is_told_without_its_password() -> None:
    assert str(Address.parse("redis://u:secret@h:7/3")) == "h:7"
