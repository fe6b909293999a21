"""What becomes of items that readers other than the daemon take."""

from __future__ import annotations

import pytest

from bridge.observe.fate import (
    Returned,
)
from bridge.observe.monitor import LUA
from tests.observe.scene import GATEWAY, MAIN, PI, Scene, event


# -- other readers ------------------------------------------------------------------------------
def test_what_a_pi_session_marks_as_seen_went_to_it_alone() -> None:
    scene = Scene()
    scene.push(event("a"))
    scene.push(event("a"), key="joelclaw:events:pid-7")
    scene.read(PI, "joelclaw:events:pid-7")
    scene.do(PI, "EXISTS", "joelclaw:gateway:seen:a")
    scene.do(PI, "SET", "joelclaw:gateway:seen:a", "1", "EX", "1800")
    scene.delete(PI, "joelclaw:events:pid-7")
    scene.end()
    told = [(record.session, record.fate) for record in scene.settled()]
    assert told == [("pid-7", "session"), ("gateway", "waiting")]


def test_a_pi_session_names_heartbeats_by_minute_and_todoists_by_task() -> None:
    scene = Scene()
    key = "joelclaw:events:pid-7"
    scene.push(event("old", "cron.heartbeat", ts=60_000), key=key)
    scene.push(event("new", "cron.heartbeat", ts=120_000), event("todo", "todoist.task"), key=key)
    scene.read(PI, key)
    scene.do(PI, "EXISTS", "joelclaw:gateway:seen:heartbeat:2")
    scene.do(PI, "SET", "joelclaw:gateway:seen:heartbeat:2", "1")
    scene.do(PI, "SET", "joelclaw:gateway:seen:todoist.task:4:5", "1")
    scene.delete(PI, key)
    assert scene.end() == {"old": "suppressed", "new": "session", "todo": "session"}


def test_a_pi_session_that_looks_an_event_up_and_marks_it_not_had_seen_it() -> None:
    scene = Scene()
    key = "joelclaw:events:pid-7"
    scene.push(event("a"), event("stale"), "no json", key=key)
    scene.read(PI, key)
    scene.do(PI, "EXISTS", "joelclaw:gateway:seen:a")
    scene.delete(PI, key)
    assert scene.end() == {"a": "duplicate", "stale": "lost", None: "malformed"}


def test_a_reader_without_traces_in_another_session_took_what_it_read() -> None:
    scene = Scene()
    key = "joelclaw:events:mine"
    scene.push(event("a"), key=key)
    scene.read("mine:1", key)
    scene.push(event("b"), key=key)
    scene.delete("mine:1", key)
    assert scene.end() == {"b": "lost", "a": "taken"}


@pytest.mark.parametrize(
    "command",
    [
        ("LREM", GATEWAY, "1", event("a")),
        ("RPOP", GATEWAY),
        ("RPOP", GATEWAY, "1"),
        ("BRPOP", "other", GATEWAY, "0"),
        ("LMOVE", GATEWAY, "elsewhere", "RIGHT", "LEFT"),
        ("BLMOVE", GATEWAY, "elsewhere", "RIGHT", "LEFT", "0"),
        ("RPOPLPUSH", GATEWAY, "elsewhere"),
        ("LMPOP", "2", MAIN, GATEWAY, "RIGHT", "COUNT", "1"),
        ("BLMPOP", "0", "1", GATEWAY, "RIGHT"),
    ],
)
def test_an_item_removed_by_itself_was_taken(command: tuple[str, ...]) -> None:
    scene = Scene()
    scene.push(event("a"), event("b"))
    scene.do("transport:1", *command)
    assert scene.fated() == {"a": "taken"}
    assert scene.end() == {"a": "taken", "b": "waiting"}


def test_pages_that_are_read_and_trimmed_are_not_lost() -> None:
    scene = Scene()
    key = "joelclaw:events:mine"
    scene.push(event("a"), event("b"), event("c"), key=key)
    scene.do("mine:1", "LRANGE", key, "-2", "-1")
    scene.do("mine:1", "LTRIM", key, "0", "-3")
    scene.do("mine:1", "LTRIM", key, "1", "0")
    assert scene.end() == {"c": "lost", "a": "taken", "b": "taken"}


def test_what_a_script_takes_for_the_bridge_is_the_bridges() -> None:
    scene = Scene()
    scene.push(event("a"), event("b"))
    scene.do(LUA, "RPOP", GATEWAY)
    scene.do(LUA, "HINCRBY", "joelclaw:bridge:intake", "items", "1")
    scene.do(LUA, "RPOP", GATEWAY)
    scene.do(LUA, "RPUSH", "elsewhere", event("b"))
    assert scene.end() == {"a": "bridge", "b": "taken"}


def test_what_the_bridge_gives_back_is_the_same_item_with_another_fate() -> None:
    scene = Scene()
    scene.push(event("a"), event("b"))
    scene.do(LUA, "RPOP", GATEWAY)
    scene.do(LUA, "HINCRBY", "joelclaw:bridge:intake", "items", "1")
    scene.do(LUA, "RPUSH", GATEWAY, event("a"))
    scene.read()
    scene.store("a", "b")
    scene.delete()
    assert scene.end() == {"a": "prompt", "b": "prompt"}
    assert [record.n for record in scene.pushed()] == [1, 2]
    assert [record for record in scene.records if isinstance(record, Returned)] == [
        Returned(1, 1007, "test")
    ]


def test_what_a_blocking_reader_is_served_cannot_be_told() -> None:
    scene = Scene()
    scene.do("mine:1", "BLPOP", GATEWAY, "0")
    scene.push(event("a"))
    assert scene.end() == {"a": "inconclusive"}


def test_a_list_that_is_renamed_takes_its_items_out_of_sight() -> None:
    scene = Scene()
    scene.push(event("a"))
    scene.do("mine:1", "RENAME", GATEWAY, "elsewhere")
    assert scene.end() == {"a": "inconclusive"}
