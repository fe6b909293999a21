"""What becomes of items, told from commands as joelclaw's readers and writers send them."""

from __future__ import annotations

import pytest

from bridge.observe.fate import (
    Switched,
)
from bridge.observe.fates import GRACE_MS, STRANDED_MS
from tests.observe.scene import (
    BATCH,
    CLI,
    DAEMON,
    GATEWAY,
    MAIN,
    MODE,
    SESSIONS,
    WRITER,
    Scene,
    event,
)


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
