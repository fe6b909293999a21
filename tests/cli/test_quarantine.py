"""`bridge quarantine`, on two real Redises; `bridge status` and `bridge joelclaw` beside it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
from redis import Redis

from bridge.joelclaw.quarantine import Quarantine, Quarantined
from bridge.redis.commands import connect
from tests.cli.conftest import Cli
from tests.redis_server import RedisServer
from tests.running import Up

EVENT = {"id": "e", "type": "a.b", "source": "cli", "payload": {}, "ts": 1_795_380_404_972}


def item(id: str, raw: str, source: str = "events:main", at_ms: int = 1) -> Quarantined:
    return Quarantined(id, at_ms, source, "invalid_request", f"why {id}", {"rule": "x"}, raw)


def put(url: str, *items: Quarantined) -> None:
    async def within() -> None:
        redis = connect(url, "test")
        for one in items:
            await Quarantine(redis).put(one)
        await redis.aclose()

    asyncio.run(within())


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch, alone: Cli) -> Iterator[RedisServer]:
    with RedisServer() as server:
        monkeypatch.setenv("BRIDGE_REDIS_URL", server.url)
        yield server


@pytest.fixture
def joelclaw(monkeypatch: pytest.MonkeyPatch, alone: Cli) -> Iterator[RedisServer]:
    with RedisServer() as server:
        monkeypatch.setenv("BRIDGE_JOELCLAW_REDIS_URL", server.url)
        yield server


def test_items_are_listed_oldest_first_and_shown_whole(alone: Cli, own: RedisServer) -> None:
    put(own.url, item("late", "{}", at_ms=2), item("early", "\udcff{é", at_ms=1))
    early, late = alone("quarantine", "--json").rows
    assert (early["id"], early["raw"], late["id"]) == ("early", "\\xff{é", "late")
    assert alone("quarantine", "list", "--limit", "1", "--json").rows == [early]
    shown = alone("quarantine", "show", "early")
    assert (shown.code, shown.json["raw"]) == (0, "\\xff{é")
    assert shown.json["detail"] == {"rule": "x"}


def test_an_unknown_item_is_said_so_and_the_others_are_put_back(
    alone: Cli, own: RedisServer, joelclaw: RedisServer
) -> None:
    put(own.url, item("a", json.dumps(EVENT)))
    done = alone("quarantine", "redrive", "nothing", "a")
    assert (done.code, done.err) == (
        1,
        "bridge: no item nothing: `bridge quarantine list` shows them\n",
    )
    with Redis.from_url(joelclaw.url) as theirs:
        assert theirs.lrange("joelclaw:events:main", 0, -1) == [json.dumps(EVENT).encode()]
    assert alone("quarantine").out == "none\n"


def test_what_would_be_refused_again_is_not_put_back(
    alone: Cli, own: RedisServer, joelclaw: RedisServer
) -> None:
    put(own.url, item("a", '{"id":"e"}'))
    done = alone("quarantine", "redrive", "a")
    assert done.code == 1
    assert done.err.startswith("bridge: a would be refused again: joelclaw SystemEvent: ")
    assert "Send it corrected: bridge call triage:gateway receive" in done.err
    assert [row["id"] for row in alone("quarantine", "--json").rows] == ["a"]


def test_a_delivery_needs_no_redis_of_joelclaws_and_comes_last(
    alone: Cli, own: RedisServer
) -> None:
    put(own.url, item("a", '{"id":"m/0"}', source="deliveries"))
    with Redis.from_url(own.url) as redis:
        redis.xadd("joelclaw:bridge:{triage}:deliveries", {"event": "first"})
        assert alone("quarantine", "redrive", "a").out == "1 put back\n"
        (_, first), (_, last) = redis.xrange("joelclaw:bridge:{triage}:deliveries")
        assert (first, last) == ({b"event": b"first"}, {b"event": b'{"id":"m/0"}'})


def test_without_a_redis_it_says_where_it_looked(
    alone: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRIDGE_REDIS_URL", "redis://127.0.0.1:1")
    done = alone("quarantine")
    assert done.code == 1
    assert done.err.startswith("bridge: Redis: ")


def test_the_intake_is_shown_also_while_no_bridge_runs(alone: Cli, joelclaw: RedisServer) -> None:
    rows = {row["what"]: row["found"] for row in intake(alone("joelclaw").out)}
    assert rows["intake"] == "not the bridge; joelclaw's daemon, if it runs"
    (status,) = alone("joelclaw", "status", "--json").rows
    assert (status["state"], status["holder"], status["in_flight"]) == ("free", None, 0)


def test_a_taken_intake_without_a_worker_is_warned_of(alone: Cli, joelclaw: RedisServer) -> None:
    with Redis.from_url(joelclaw.url) as theirs:
        theirs.hset("joelclaw:bridge:intake", "state", "taken")
    done = alone("joelclaw", "status")
    warning = "no worker takes them: is the bridge running, with BRIDGE_OUTLET?"
    assert done.err == f"bridge: holder: {warning}\n"


def test_the_intake_needs_joelclaws_redis(alone: Cli) -> None:
    done = alone("joelclaw", "status")
    assert done.code == 2
    assert "BRIDGE_JOELCLAW_REDIS_URL is not set" in done.err


def test_a_url_that_is_none_is_refused(alone: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_JOELCLAW_REDIS_URL", "127.0.0.1:6379")
    done = alone("joelclaw", "status")
    assert done.code == 2
    assert done.err.startswith("bridge: BRIDGE_JOELCLAW_REDIS_URL: Redis URL: expected redis://")


def test_status_tells_what_runs_and_what_is_kept(cli: Cli, up: Up) -> None:
    rows = {row["what"]: row["found"] for row in cli("status", "--json").rows}
    assert rows["bridge"] == f"pid {up.process.pid} serves {up.run['url']}"
    assert "counter" in rows["python"]
    assert rows["quarantine"] == "0 items"
    assert "outlet" not in rows


def intake(table: str) -> list[dict[str, str]]:
    """Return the rows of a table of two columns."""
    _, *lines = table.splitlines()
    cells = (line.split("  ", 1) for line in lines)
    return [{"what": what.strip(), "found": found.strip()} for what, found in cells]
