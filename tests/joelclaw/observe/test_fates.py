"""What becomes of items, told from commands as joelclaw's readers and writers send them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bridge.joelclaw.observe.fate import (
    CAUSES,
    FATES,
    Pushed,
    Record,
    Returned,
    Settled,
    Switched,
)
from bridge.joelclaw.observe.fates import GRACE_MS, STRANDED_MS, Fates
from bridge.joelclaw.observe.monitor import LUA, Command

GATEWAY, MAIN, BATCH = "joelclaw:events:gateway", "joelclaw:events:main", "joelclaw:events:batch"
MODE, SESSIONS = "joelclaw:mode", "joelclaw:gateway:sessions"
DAEMON, WRITER, PI, CLI = "daemon:1", "writer:1", "pi:1", "cli:1"


def event(id: str, type: str = "test", **changes: Any) -> str:
    whole = {"id": id, "type": type, "source": "cli", "payload": {}, "ts": 1795380404972}
    return json.dumps(whole | changes)


class Scene:
    """Fates that see one command a millisecond, from 1,000 on."""

    def __init__(self, lists: dict[str, list[str]] | None = None, **options: Any) -> None:
        self.fates = Fates(**options)
        self.now_ms = 1_000
        self.records: list[Record] = []
        self.begin(lists or {})

    def begin(self, lists: dict[str, list[str]], mode: str = "active") -> None:
        raw = {name: [item.encode() for item in items] for name, items in lists.items()}
        self.fates.begin(self.now_ms, raw, mode)
        self._take()

    def do(self, client: str, *words: str | bytes) -> None:
        self.now_ms += 1
        name, *args = (word if isinstance(word, bytes) else word.encode() for word in words)
        self.fates.see(Command(self.now_ms, 0, client, name.decode(), tuple(args)))
        self._take()

    def push(self, *items: str, key: str = GATEWAY, writer: str = WRITER) -> None:
        """Push and ring, as all of joelclaw's writers do."""
        for item in items:
            self.do(writer, "LPUSH", key, item)
            bell = key.replace(":events:", ":notify:")
            self.do(writer, "PUBLISH", bell, '{"eventId":"1","type":"test"}')

    def store(self, *ids: str, client: str = DAEMON) -> None:
        """Store a prompt as the early daemon does."""
        metadata = json.dumps({"eventCount": len(ids), "eventIds": ids})
        words = ("source", "gateway", "prompt", "…", "metadata", metadata, "timestamp", "1")
        self.do(client, "XADD", "joelclaw:gateway:messages", "*", *words)

    def read(self, client: str = DAEMON, key: str = GATEWAY) -> None:
        self.do(client, "LRANGE", key, "0", "-1")

    def delete(self, client: str = DAEMON, key: str = GATEWAY) -> None:
        self.do(client, "DEL", key)

    def wait(self, ms: int = GRACE_MS) -> None:
        self.now_ms += ms
        self.fates.advance(self.now_ms)
        self._take()

    def end(self, **how: Any) -> dict[str | None, str]:
        """Finish; return the last fate of every id."""
        self.fates.finish(self.now_ms, **how)
        self._take()
        assert self.fates.followed == 0
        return self.fated()

    def fated(self) -> dict[str | None, str]:
        return {record.id: record.fate for record in self.settled()}

    def settled(self) -> list[Settled]:
        found = [record for record in self.records if isinstance(record, Settled)]
        assert all(record.fate in FATES for record in found)
        assert all((record.cause in CAUSES) == (record.fate == "lost") for record in found)
        return found

    def pushed(self) -> list[Pushed]:
        return [record for record in self.records if isinstance(record, Pushed)]

    def _take(self) -> None:
        self.records += self.fates.take()


# -- the daemon ---------------------------------------------------------------------------------
def test_an_event_in_the_metadata_of_a_stored_message_is_a_prompt() -> None:
    scene = Scene()
    scene.push(event("a"), event("b"))
    scene.read()
    scene.store("a", "b")
    assert scene.fated() == {"a": "prompt", "b": "prompt"}
    scene.delete()
    assert scene.end() == {"a": "prompt", "b": "prompt"}
    assert [record.n for record in scene.pushed()] == [1, 2]


def test_the_layout_of_head_and_its_options_are_read_too() -> None:
    scene = Scene()
    scene.push(event("a"))
    scene.read()
    metadata = '{"eventIds":["a"]}'
    options = ("NOMKSTREAM", "MAXLEN", "~", "1000", "LIMIT", "10")
    fields = ("payload", '{"metadata":"no"}', "metadata", metadata, "priority", "1")
    scene.do(DAEMON, "XADD", "joelclaw:gateway:messages", *options, "*", *fields)
    assert scene.fated() == {"a": "prompt"}


def test_an_event_pushed_to_the_batch_is_batched() -> None:
    scene = Scene()
    scene.push(event("a", "discovery.captured"))
    scene.read()
    scene.do(DAEMON, "RPUSH", BATCH, event("a", "discovery.captured"))
    scene.delete()
    assert scene.end() == {"a": "batched"}


def test_what_came_between_lrange_and_del_is_lost_at_once() -> None:
    scene = Scene()
    scene.push(event("a"))
    scene.read()
    scene.push(event("b"))
    scene.store("a")
    scene.delete()
    (lost,) = [record for record in scene.settled() if record.fate == "lost"]
    assert (lost.id, lost.cause) == ("b", "window")
    assert lost.why == "pushed 1 ms after daemon:1 had read the list, deleted 3 ms later"
    assert scene.end() == {"a": "prompt", "b": "lost"}


def test_what_came_after_the_last_read_is_lost_when_the_daemon_signs_off() -> None:
    scene = Scene()
    scene.read()
    scene.push(event("a"))
    scene.do(DAEMON, "SREM", SESSIONS, "gateway")
    scene.delete()
    assert [record.cause for record in scene.settled()] == ["shutdown"]


@pytest.mark.parametrize("command", [("DEL", GATEWAY), ("UNLINK", "x", GATEWAY), ("FLUSHALL",)])
def test_what_a_stranger_deletes_is_lost(command: tuple[str, ...]) -> None:
    scene = Scene()
    scene.push(event("a"))
    scene.do(CLI, *command)
    assert [record.cause for record in scene.settled()] == ["cleared"]


def test_a_look_into_the_list_saves_nobody() -> None:
    scene = Scene()
    scene.push(event("a", "progress"))
    scene.read(CLI)
    scene.delete()
    scene.wait()
    assert [(record.fate, record.cause) for record in scene.settled()] == [("lost", "cleared")]


@pytest.mark.parametrize(
    ("item", "fate"),
    [
        (event("a", "progress"), "suppressed"),
        (event("a", "todoist.task.completed"), "suppressed"),
        (event("a", "cron.heartbeat"), "suppressed"),
        (event("a", "system.fatal", payload={"telegramOnly": True}), "telegram"),
        (event("a", payload={"telegramOnly": True, "level": "fatal"}), "telegram"),
        (event("a", payload={"telegramOnly": True}), "lost"),
        (event("a", "gateway/sleep"), "lost"),
        (event("a", payload=[1]), "lost"),
        (event("a", ts="2026-02-22T00:00:00Z"), "malformed"),
        (event("a", ts=True), "malformed"),
        (event("a", payload=None), "malformed"),
        (event("a", source=1), "malformed"),
    ],
)
def test_what_was_read_and_left_no_trace_is_judged_after_a_while(item: str, fate: str) -> None:
    scene = Scene()
    scene.push(item)
    scene.read()
    scene.delete()
    scene.wait(GRACE_MS - 1)
    assert scene.fated() == {}
    scene.wait(1)
    assert scene.fated() == {"a": fate}
    assert [record.cause for record in scene.settled()] == ["nothing" if fate == "lost" else ""]


@pytest.mark.parametrize("item", ["no json", "[1]", "7", '{"type":"x"}', '{"id":NaN}', "\\"])
def test_what_has_no_id_has_a_fate_too(item: str) -> None:
    scene = Scene()
    scene.push(item)
    scene.read()
    scene.delete()
    assert scene.end() == {None: "malformed"}


def test_a_trace_after_the_deletion_counts() -> None:
    scene = Scene()
    scene.push(event("a"))
    scene.read()
    scene.delete(CLI)
    scene.store("a")
    assert scene.end() == {"a": "prompt"}


def test_an_id_that_was_read_before_is_a_duplicate() -> None:
    scene = Scene()
    scene.push(event("a"), event("a", "other"))
    scene.read()
    scene.store("a")
    scene.delete()
    scene.push(event("a"))
    scene.read()
    scene.delete()
    scene.end()
    assert [record.fate for record in scene.settled()] == ["prompt", "duplicate", "duplicate"]


def test_an_id_that_was_lost_unread_is_no_duplicate_the_next_time() -> None:
    scene = Scene()
    scene.read()
    scene.push(event("a"))
    scene.delete()
    scene.push(event("a"))
    scene.read()
    scene.store("a")
    assert [record.fate for record in scene.settled()] == ["lost", "prompt"]


def test_the_daemon_remembers_500_ids() -> None:
    scene = Scene()
    for n in range(501):
        scene.push(event(f"e{n}"))
        scene.read()
        scene.store(f"e{n}")
        scene.delete()
    scene.push(event("e1"), event("e0"))
    scene.read()
    scene.delete()
    scene.end()
    assert [record.fate for record in scene.settled()[-2:]] == ["duplicate", "lost"]


def test_a_heartbeat_that_makes_no_prompt_stays_until_the_next_event() -> None:
    scene = Scene()
    scene.push(event("beat", "cron.heartbeat"))
    scene.read()
    scene.push(event("a"))
    scene.read()
    scene.store("a")
    scene.delete()
    assert scene.end() == {"beat": "suppressed", "a": "prompt"}


def test_what_was_left_by_a_failed_drain_and_deleted_by_the_next_is_lost() -> None:
    scene = Scene()
    scene.push(event("a"))
    scene.read()
    scene.read()
    scene.delete()
    scene.end()
    assert [(record.fate, record.cause) for record in scene.settled()] == [("lost", "nothing")]


def test_sleep_and_wake_are_seen_by_the_mode_they_set() -> None:
    scene = Scene()
    scene.push(event("s", "gateway/sleep"))
    scene.read()
    scene.do(DAEMON, "SET", MODE, "sleep")
    scene.delete()
    scene.do(CLI, "SET", MODE, "active")
    assert scene.end() == {"s": "mode"}
    assert scene.records[-1] == Switched(scene.now_ms, "active")
    assert sum(isinstance(record, Switched) for record in scene.records) == 2  # and the first


def test_what_the_daemon_reads_before_its_store_is_open_is_in_its_memory_only() -> None:
    scene = Scene()
    scene.push(event("a"), event("b", "progress"))
    scene.read()
    scene.delete()
    scene.do(DAEMON, "XGROUP", "CREATE", "joelclaw:gateway:messages", "gateway-session", "$")
    scene.push(event("c"))
    scene.read()
    scene.delete()
    assert scene.end() == {"a": "unstored", "b": "suppressed", "c": "lost"}


def test_what_a_starting_daemon_moves_out_of_main_stays_the_same_item() -> None:
    scene = Scene()
    scene.push(event("a"), event("b"), key=MAIN)
    scene.read(CLI, MAIN)
    scene.read(key=MAIN)
    scene.do(DAEMON, "LPUSH", GATEWAY, event("b"))
    scene.push(event("late"), key=MAIN)
    scene.do(DAEMON, "LPUSH", GATEWAY, event("a"))
    scene.delete(key=MAIN)
    scene.read()
    scene.store("b", "a")
    scene.delete()
    assert scene.end() == {"a": "prompt", "b": "prompt", "late": "lost"}
    assert [record.n for record in scene.pushed()] == [1, 2, 3]


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


# -- the begin, gaps, the end -------------------------------------------------------------------
def test_what_was_there_before_may_have_been_read_before() -> None:
    scene = Scene({"gateway": [event("b"), event("a")]})
    scene.push(event("new"))
    scene.delete()
    assert scene.end() == {"new": "lost", "a": "inconclusive", "b": "inconclusive"}
    assert [(record.look.id, record.found) for record in scene.pushed()] == [
        ("a", True),
        ("b", True),
        ("new", False),
    ]


def test_what_was_there_before_and_is_read_now_is_judged() -> None:
    scene = Scene({"gateway": [event("b", "progress"), event("a")]})
    scene.read()
    scene.store("a")
    scene.delete()
    assert scene.end() == {"a": "prompt", "b": "suppressed"}


def test_a_trace_of_what_was_read_before_the_beginning_counts() -> None:
    scene = Scene({"gateway": [event("a")]})
    scene.store("a")
    scene.delete()
    assert scene.end() == {"a": "prompt"}


def test_after_a_gap_what_is_gone_is_inconclusive_and_what_is_there_goes_on() -> None:
    scene = Scene()
    scene.push(event("done"))
    scene.read()
    scene.store("done")
    scene.push(event("gone"), event("stays"))
    scene.read()
    scene.begin({"gateway": [event("unseen"), event("stays"), event("done")]}, mode="sleep")
    scene.push(event("new"))
    scene.delete()
    assert scene.end() == {
        "done": "prompt",
        "gone": "inconclusive",
        "new": "lost",
        "stays": "inconclusive",
        "unseen": "inconclusive",
    }
    assert [record.look.id for record in scene.pushed() if record.found] == ["unseen"]
    assert scene.records.count(Switched(scene.now_ms - 3, "sleep")) == 1


def test_what_was_to_be_judged_when_the_connection_went_is_inconclusive() -> None:
    scene = Scene()
    scene.push(event("a"))
    scene.read()
    scene.delete()
    scene.begin({})
    assert scene.end() == {"a": "inconclusive"}


def test_without_a_connection_at_the_end_what_waited_is_inconclusive() -> None:
    scene = Scene()
    scene.push(event("a"))
    assert scene.end(connected=False) == {"a": "inconclusive"}


def test_what_waits_at_the_end_says_for_what() -> None:
    scene = Scene()
    scene.push(event("had"))
    scene.read()
    scene.store("other")
    scene.push(event("rung"))
    scene.wait(STRANDED_MS)
    scene.do(WRITER, "LPUSH", MAIN, event("silent"))
    assert scene.end() == {"had": "waiting", "rung": "waiting", "silent": "waiting"}
    assert {record.id: record.why for record in scene.settled()} == {
        "had": "its reader has it in hand",
        "rung": "stranded: its doorbell rang 10001 ms ago",
        "silent": "no doorbell rang since it came",
    }


def test_more_than_can_be_followed_is_said_to_be_untracked() -> None:
    scene = Scene(max_followed=2)
    scene.push(event("a"), event("b"), event("c"))
    assert scene.fated() == {"c": "untracked"}
    scene.read()
    scene.store("a", "b", "c")
    scene.delete()
    scene.push(event("d"))
    assert scene.end() == {"a": "prompt", "b": "prompt", "c": "untracked", "d": "waiting"}


def test_nothing_is_held_of_100_000_events_that_have_their_fates() -> None:
    scene = Scene()
    most = 0
    for n in range(10_000):
        scene.push(*(event(f"{n}-{m}", "progress") for m in range(10)))
        scene.read()
        scene.delete()
        scene.wait(0)
        scene.records.clear()
        most = max(most, scene.fates.followed)
    # Ten a round of 22 commands, for as long as they are not judged.
    assert most == pytest.approx(10 * GRACE_MS / 22, abs=10)
    scene.wait()
    assert scene.fates.followed == 0


def test_the_contracts_verdict_comes_with_the_push() -> None:
    scene = Scene(fault=lambda item: "" if b"payload" in item else "missing payload")
    scene.push(event("a"), "{}")
    assert [record.fault for record in scene.pushed()] == ["", "missing payload"]
