"""The model of a list does what a real Redis does with one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from bridge.observe.daemon import look
from bridge.observe.event_list import MAX_READERS, EventList, Item
from tests.redis_server import RedisServer

KEY = "joelclaw:events:gateway"
INDEX = st.integers(-6, 6)
VALUE = st.sampled_from([b"a", b"b", b"c"])
COMMANDS = st.one_of(
    st.tuples(st.sampled_from(["LPUSH", "RPUSH"]), VALUE),
    st.tuples(st.sampled_from(["LPOP", "RPOP"]), st.integers(1, 3)),
    st.tuples(st.just("LREM"), INDEX, VALUE),
    st.tuples(st.just("LTRIM"), INDEX, INDEX),
    st.tuples(st.just("LRANGE"), INDEX, INDEX),
    st.tuples(st.just("DEL")),
)


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with RedisServer(appendonly=False) as server, Redis(port=server.port) as client:
        yield client


def item(value: bytes) -> Item:
    return Item(0, "gateway", look(value), value, 0)


def values(items: list[Item]) -> list[bytes]:
    return [item.digest for item in items]


@given(commands=st.lists(COMMANDS))
def test_every_command_leaves_what_redis_has(
    redis: Redis, commands: list[tuple[str, bytes | int]]
) -> None:
    redis.delete(KEY)
    model = EventList("gateway")
    for name, *words in commands:
        before = list(redis.lrange(KEY, 0, -1))
        answer = redis.execute_command(name, KEY, *words)  # type: ignore[no-untyped-call] # redis-py has no types for it
        match name, words:
            case (("LPUSH" | "RPUSH"), [bytes(value)]):
                model.push(item(value), head=name == "LPUSH")
            case (("LPOP" | "RPOP"), [int(count)]):
                gone = model.pop(count, head=name == "LPOP")
                assert values(gone) == (answer or [])
            case "LREM", [int(count), bytes(value)]:
                assert len(model.remove(value, count)) == answer
            case "LTRIM", [int(start), int(stop)]:
                assert len(model.trim(start, stop)) == len(before) - redis.llen(KEY)
            case "LRANGE", [int(start), int(stop)]:
                model.read("me", start, stop, 0)
                covered = [i for i in model.items if "me" in model.readers(i)]
                if answer:
                    assert values(covered) == answer
            case "DEL", []:
                assert values(model.clear()) == before[::-1]
        assert values(list(model.items)) == redis.lrange(KEY, 0, -1)


def test_what_is_pushed_after_a_read_is_not_covered_by_it() -> None:
    model = EventList("gateway")
    model.push(item(b"a"), head=True)
    model.read("me", 0, -1, 5)
    model.clear()
    for head in (True, False):
        model.push(item(b"b"), head=head)
    assert [list(model.readers(item)) for item in model.items] == [[], []]


def test_an_item_that_is_not_followed_counts_for_indices() -> None:
    model = EventList("gateway")
    model.push(item(b"a"), head=True)
    model.untracked = 1
    assert len(model) == 2
    assert values(model.pop(1, head=False)) == [b"a"]
    assert model.pop(1, head=False) == []
    assert len(model) == 0


def test_of_many_readers_the_latest_are_known() -> None:
    model = EventList("gateway")
    model.push(item(b"a"), head=True)
    for n in range(MAX_READERS + 1):
        model.read(f"client {n}", 0, -1, 0)
    assert list(model.readers(model.items[0])) == [f"client {n + 1}" for n in range(MAX_READERS)]
