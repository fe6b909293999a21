"""One socket's channels, table by table; the wire's values are literals here."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.channels.frames import CODECS
from bridge.channels.requests import Limits, Presence
from bridge.channels.session import (
    Action,
    Close,
    Dispatch,
    Join,
    Part,
    Push,
    Send,
    Session,
)
from bridge.errors import BridgeError


def admit(subsystem: str, key: str, presence: Presence | None) -> None:
    if subsystem != "counter" or not key:
        raise BridgeError("unknown_topic", f"no {subsystem}:{key}")


def session(vsn: str = "2", **limits: int) -> Session:
    given = {"max_topics": 3, "max_in_flight": 3, "max_bytes": 1000, **limits}
    return Session(CODECS[vsn], Limits(**given), admit)


def feed(s: Session, *frame: Any) -> list[Action]:
    return s.receive(json.dumps(list(frame)))


def sent(actions: list[Action]) -> list[Any]:
    return [json.loads(action.frame) for action in actions if isinstance(action, Send)]


def kinds(actions: list[Action]) -> list[str]:
    return [type(action).__name__ for action in actions]


def join(s: Session, topic: str = "counter:a", ref: str = "1") -> Join:
    [action] = feed(s, ref, ref, topic, "phx_join", {})
    assert isinstance(action, Join)
    return action


def joined(s: Session, topic: str = "counter:a", ref: str = "1") -> Join:
    action = join(s, topic, ref)
    s.joined(action.channel, {"position": "0-0"})
    return action


def push(s: Session, ref: str = "9", payload: Any = None, event: str = "add") -> Push:
    [action] = feed(s, "1", ref, "counter:a", event, payload or {})
    assert isinstance(action, Dispatch)
    return action.push


def code(actions: list[Action]) -> str:
    [frame] = sent(actions)
    assert frame[3] == "phx_reply"
    assert frame[4]["status"] == "error"
    assert set(frame[4]["response"]) >= {"code", "message", "retryable", "detail"}
    return str(frame[4]["response"]["code"])


def test_a_join_is_answered_with_its_ref() -> None:
    s = session()
    action = join(s)
    assert action.since is None
    assert sent(s.joined(action.channel, {"position": "5-0"})) == [
        ["1", "1", "counter:a", "phx_reply", {"status": "ok", "response": {"position": "5-0"}}]
    ]


def test_a_join_may_carry_since() -> None:
    [action] = feed(session(), "1", "1", "counter:a", "phx_join", {"since": "5-0"})
    assert isinstance(action, Join)
    assert action.since == "5-0"


@pytest.mark.parametrize("since", [5, {}, "x" * 101, True])
def test_a_since_that_is_no_position_is_refused(since: Any) -> None:
    actions = feed(session(), "1", "1", "counter:a", "phx_join", {"since": since})
    assert code(actions) == "invalid_request"


@pytest.mark.parametrize("topic", ["nobody:a", "counter:", "counter", ""])
def test_an_unknown_topic_is_refused(topic: str) -> None:
    s = session()
    assert code(feed(s, "1", "1", topic, "phx_join", {})) == "unknown_topic"
    assert s.channels == {}


def test_a_failed_join_leaves_the_topic_unjoined() -> None:
    s = session()
    actions = s.join_failed(join(s).channel, BridgeError("storage_unavailable", "no Redis"))
    assert code(actions) == "storage_unavailable"
    assert code(feed(s, "1", "2", "counter:a", "add", {})) == "unmatched_topic"


OK = {"status": "ok", "response": {"position": "0-0"}}


def test_a_second_join_closes_the_first_behind_its_own_answer() -> None:
    s = session()
    first = joined(s)
    actions = feed(s, "2", "2", "counter:a", "phx_join", {})
    assert kinds(actions) == ["Part", "Join"]
    assert actions[0] == Part(first.channel)
    second = s.channels["counter:a"]
    assert second is not first.channel
    assert sent(s.joined(second, {"position": "0-0"})) == [
        ["2", "2", "counter:a", "phx_reply", OK],
        ["1", "1", "counter:a", "phx_close", {}],
    ]


def test_a_second_join_that_fails_has_closed_the_first_all_the_same() -> None:
    s = session()
    joined(s)
    feed(s, "2", "2", "counter:a", "phx_join", {})
    failed = s.join_failed(s.channels["counter:a"], BridgeError("internal", "x"))
    assert [frame[3] for frame in sent(failed)] == ["phx_reply", "phx_close"]
    joined(s, ref="3")
    actions = feed(s, "4", "4", "counter:a", "phx_join", {"since": 5})
    assert kinds(actions) == ["Part", "Send", "Send"]
    assert [frame[3] for frame in sent(actions)] == ["phx_reply", "phx_close"]
    assert s.channels == {}


def test_whatever_comes_behind_a_join_waits_for_its_answer() -> None:
    s = session(max_in_flight=9)
    first = join(s).channel
    for frame in (
        ["1", "2", "counter:a", "add", {"n": 1}],
        ["1", "3", "counter:a", "phx_leave", {}],
        ["1", "4", "counter:a", "add", {"n": 2}],
        ["5", "5", "counter:a", "phx_join", {}],
        ["5", "6", "counter:a", "add", {"n": 3}],
    ):
        assert feed(s, *frame) == []
    actions = s.joined(first, {"position": "0-0"})
    assert kinds(actions) == ["Send", "Dispatch", "Part", "Send", "Send", "Send", "Join"]
    assert [(f[1], f[3]) for f in sent(actions)] == [
        ("1", "phx_reply"),
        ("3", "phx_reply"),
        ("1", "phx_close"),
        ("4", "phx_reply"),
    ]
    assert sent(actions)[3][4]["response"]["code"] == "unmatched_topic"
    again = s.joined(s.channels["counter:a"], {"position": "0-0"})
    assert kinds(again) == ["Send", "Dispatch"]
    assert sent(again) == [["5", "5", "counter:a", "phx_reply", OK]]
    assert s.in_flight == 2


def test_the_late_outcome_of_a_join_that_ended_says_nothing() -> None:
    s = session()
    first = joined(s)
    feed(s, "2", "2", "counter:a", "phx_join", {})
    assert s.joined(first.channel, {"position": "0-0"}) == []
    assert s.join_failed(first.channel, BridgeError("internal", "x")) == []


@pytest.mark.parametrize("event", ["add", "phx_leave", "nothing"])
def test_a_frame_of_an_older_join_is_ignored(event: str) -> None:
    s = session()
    joined(s)
    feed(s, "2", "2", "counter:a", "phx_join", {})
    s.joined(s.channels["counter:a"], {"position": "0-0"})
    assert feed(s, "1", "5", "counter:a", event, {}) == []
    assert feed(s, 2, "6", "counter:a", event, {}) == []
    assert s.in_flight == 0
    assert s.channels["counter:a"].state == "joined"
    assert feed(s, None, "7", "counter:a", event, {}) != []


def test_a_join_without_join_ref_is_known_by_its_ref_in_replies() -> None:
    s = session()
    [action] = feed(s, None, "1", "counter:a", "phx_join", {})
    assert isinstance(action, Join)
    assert sent(s.joined(action.channel, {"position": "0-0"})) == [
        [None, "1", "counter:a", "phx_reply", OK]
    ]
    [dispatch] = feed(s, None, "9", "counter:a", "add", {})
    assert isinstance(dispatch, Dispatch)
    assert sent([s.answered(dispatch.push, {})])[0][:2] == ["1", "9"]
    feed(s, None, "2", "counter:a", "phx_join", {})
    answer, close = sent(s.joined(s.channels["counter:a"], {"position": "0-0"}))
    assert answer[1] == "2"
    assert close == ["1", "1", "counter:a", "phx_close", {}]


def test_a_leave_is_answered_and_closes() -> None:
    s = session()
    channel = joined(s).channel
    actions = feed(s, "1", "5", "counter:a", "phx_leave", {})
    assert actions[0] == Part(channel)
    assert sent(actions) == [
        ["1", "5", "counter:a", "phx_reply", {"status": "ok", "response": {}}],
        ["1", "1", "counter:a", "phx_close", {}],
    ]
    assert code(feed(s, "1", "6", "counter:a", "add", {})) == "unmatched_topic"


def test_a_leave_of_an_unjoined_topic_is_ok() -> None:
    assert sent(feed(session(), "1", "5", "counter:a", "phx_leave", {})) == [
        ["1", "5", "counter:a", "phx_reply", {"status": "ok", "response": {}}]
    ]


def test_a_push_to_an_unjoined_topic_is_unmatched() -> None:
    [frame] = sent(feed(session(), None, "5", "counter:a", "add", {}))
    assert frame == [
        None,
        "5",
        "counter:a",
        "phx_reply",
        {
            "status": "error",
            "response": {
                "code": "unmatched_topic",
                "retryable": False,
                "reason": "unmatched topic",
                "message": "counter:a is not joined on this socket: join it first",
                "detail": {"expected": "a joined topic", "actual": "counter:a"},
            },
        },
    ]


def test_a_heartbeat_is_answered_without_a_join() -> None:
    assert sent(feed(session(), None, "7", "phoenix", "heartbeat", {})) == [
        [None, "7", "phoenix", "phx_reply", {"status": "ok", "response": {}}]
    ]


def test_another_event_on_the_topic_phoenix_is_unmatched() -> None:
    assert code(feed(session(), None, "7", "phoenix", "add", {})) == "unmatched_topic"


def test_version_1_frames_carry_the_same() -> None:
    s = session("1")
    [action] = s.receive(
        '{"topic":"counter:a","event":"phx_join","payload":{},"ref":"1","join_ref":null}'
    )
    assert isinstance(action, Join)
    assert sent(s.joined(action.channel, {"position": "0-0"})) == [
        {
            "topic": "counter:a",
            "event": "phx_reply",
            "ref": "1",
            "payload": {"status": "ok", "response": {"position": "0-0"}},
        }
    ]


def test_a_push_is_dispatched_and_answered_by_ref() -> None:
    s = session()
    joined(s)
    asked = push(s, payload={"n": 2, "message_id": "m/1", "runtime": "elixir"})
    assert (asked.operation, asked.request) == ("add", {"n": 2})
    assert (asked.message_id, asked.runtime) == ("m/1", "elixir")
    assert sent([s.answered(asked, [1])]) == [
        ["1", "9", "counter:a", "phx_reply", {"status": "ok", "response": [1]}]
    ]
    assert (s.in_flight, s.in_flight_bytes) == (0, 0)


def test_an_answer_that_cannot_be_encoded_counts_once() -> None:
    s = session()
    joined(s)
    asked = push(s)
    with pytest.raises(TypeError):
        s.answered(asked, {"x": object()})
    assert code([s.failed(asked, BridgeError("internal", "x"))]) == "internal"
    assert s.in_flight == 0


@pytest.mark.parametrize("message_id", [1, None, "", "x" * 101, "a b", "ä", "a\n"])
def test_a_bad_message_id_is_refused(message_id: Any) -> None:
    s = session()
    joined(s)
    actions = feed(s, "1", "9", "counter:a", "add", {"message_id": message_id})
    assert code(actions) == "invalid_request"
    assert s.in_flight == 0


@pytest.mark.parametrize("runtime", ["ruby", None, 1, []])
def test_a_bad_runtime_is_refused(runtime: Any) -> None:
    s = session()
    joined(s)
    actions = feed(s, "1", "9", "counter:a", "total", {"runtime": runtime})
    assert code(actions) == "invalid_request"


@pytest.mark.parametrize("payload", [None, [], 1, "x"])
def test_a_payload_that_is_no_object_is_refused(payload: Any) -> None:
    s = session()
    joined(s)
    assert code(feed(s, "1", "9", "counter:a", "add", payload)) == "invalid_frame"


def test_a_binary_push_becomes_base64() -> None:
    s = session()
    joined(s)
    [action] = s.receive(bytes([0, 1, 1, 9, 6]) + b"19counter:aupload\x00\xff")
    assert isinstance(action, Dispatch)
    assert action.push.binary
    assert action.push.request == {"base64": "AP8="}


def test_pushes_behind_a_join_wait_for_its_answer() -> None:
    s = session()
    channel = join(s).channel
    assert feed(s, "1", "2", "counter:a", "add", {"n": 1}) == []
    assert feed(s, "1", "3", "counter:a", "add", {"n": 2}) == []
    actions = s.joined(channel, {"position": "0-0"})
    assert kinds(actions) == ["Send", "Dispatch", "Dispatch"]
    assert [a.push.request["n"] for a in actions if isinstance(a, Dispatch)] == [1, 2]
    assert s.in_flight == 2


def test_pushes_behind_a_join_that_fails_are_unmatched() -> None:
    s = session()
    channel = join(s).channel
    feed(s, "1", "2", "counter:a", "add", {})
    actions = s.join_failed(channel, BridgeError("storage_unavailable", "no Redis"))
    assert [frame[4]["response"]["code"] for frame in sent(actions)] == [
        "storage_unavailable",
        "unmatched_topic",
    ]
    assert s.in_flight == 0


def test_topics_are_limited_and_a_rejoin_is_no_further_topic() -> None:
    s = session(max_topics=2)
    joined(s, "counter:a", "1")
    joined(s, "counter:b", "2")
    assert code(feed(s, "3", "3", "counter:c", "phx_join", {})) == "limit_exceeded"
    assert kinds(feed(s, "4", "4", "counter:a", "phx_join", {}))[-1] == "Join"


def test_pushes_in_flight_are_limited() -> None:
    s = session(max_in_flight=2)
    joined(s)
    first = push(s, "1")
    push(s, "2")
    assert code(feed(s, "1", "3", "counter:a", "add", {})) == "overloaded"
    s.answered(first, {})
    push(s, "4")


def test_bytes_in_flight_are_limited_but_one_push_always_passes() -> None:
    s = session(max_bytes=100)
    joined(s)
    large = push(s, "1", {"t": "x" * 200})
    assert code(feed(s, "1", "2", "counter:a", "add", {})) == "overloaded"
    s.answered(large, {})
    push(s, "3")


def test_ten_unreadable_frames_in_a_row_close_the_socket() -> None:
    s = session()
    for _ in range(9):
        assert kinds(s.receive("{")) == ["Send"]
    actions = s.receive("{")
    assert sent(actions)[0][:4] == [None, None, "phoenix", "phx_reply"]
    assert actions[-1] == Close(1008, "10 unreadable frames in a row")


def test_ten_unreadable_binary_frames_close_with_1003() -> None:
    s = session()
    actions = [s.receive(b"\xff") for _ in range(10)][-1]
    assert isinstance(actions[-1], Close)
    assert actions[-1].code == 1003


@pytest.mark.parametrize(
    "frame",
    [
        '["1","9","counter:a","add",{"n":9007199254740993}]',
        '["1","9","counter:a","add",{"n":1e999}]',
        '["1","9","counter:a","add",{"t":"\\ud800"}]',
        '["1","9","counter:a","add"]',
        '["1","9","counter:a",5,{}]',
    ],
)
def test_frames_that_are_answered_by_their_ref_do_not_close_the_socket(frame: str) -> None:
    s = session()
    joined(s)
    for _ in range(30):
        actions = s.receive(frame)
        assert sent(actions)[0][1] == "9"
        assert kinds(actions) == ["Send"]


def test_a_readable_frame_ends_the_row() -> None:
    s = session()
    for _ in range(30):
        for _ in range(9):
            assert kinds(s.receive("{")) == ["Send"]
        feed(s, None, "1", "phoenix", "heartbeat", {})


def test_an_expelled_channel_is_told_and_parted_once() -> None:
    s = session()
    channel = joined(s).channel
    actions = s.expel(channel)
    assert kinds(actions) == ["Part", "Send"]
    assert sent(actions) == [["1", "1", "counter:a", "phx_error", {}]]
    assert s.expel(channel) == []


def test_a_draining_session_answers_pushes_until_it_closes() -> None:
    s = session()
    joined(s, "counter:a", "1")
    joined(s, "counter:b", "2")
    assert sent(s.drain()) == [
        ["1", "1", "counter:a", "phx_error", {}],
        ["2", "2", "counter:b", "phx_error", {}],
    ]
    push(s)
    assert code(feed(s, "3", "3", "counter:c", "phx_join", {})) == "draining"
    s.close()
    assert code(feed(s, "1", "9", "counter:a", "add", {})) == "draining"
    assert sent(feed(s, None, "7", "phoenix", "heartbeat", {}))[0][4]["status"] == "ok"


@example([("join", "a"), ("push", "a"), ("expel", "a")])  # held when its channel ended
@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["join", "leave", "push", "joined", "failed", "answered", "expel", "junk"]
            ),
            st.sampled_from("ab"),
        ),
        max_size=60,
    )
)
def test_whatever_happens_every_push_is_answered_once(steps: list[tuple[str, str]]) -> None:
    s = session(max_in_flight=5)
    joins: list[Join] = []
    pushes: list[Push] = []
    asked, answered = set[str](), list[str]()
    for n, (step, key) in enumerate(steps):
        topic, actions = f"counter:{key}", list[Action]()
        match step:
            case "join":
                actions = feed(s, f"j{n}", f"j{n}", topic, "phx_join", {})
            case "leave":
                actions = feed(s, None, f"l{n}", topic, "phx_leave", {})
            case "push":
                asked.add(f"p{n}")
                actions = feed(s, None, f"p{n}", topic, "add", {})
            case "joined" if joins:
                actions = s.joined(joins.pop().channel, {"position": "0-0"})
            case "failed" if joins:
                actions = s.join_failed(joins.pop(0).channel, BridgeError("internal", "x"))
            case "answered" if pushes:
                actions = [s.answered(pushes.pop(), {})]
            case "expel" if topic in s.channels:
                actions = s.expel(s.channels[topic])
            case "junk":
                actions = s.receive("{")
        joins += [a for a in actions if isinstance(a, Join)]
        pushes += [a.push for a in actions if isinstance(a, Dispatch)]
        answered += [f[1] for f in sent(actions) if f[1] in asked]
    for join_ in joins:  # what was held may join again
        actions = s.joined(join_.channel, {"position": "0-0"})
        joins += [a for a in actions if isinstance(a, Join)]
        pushes += [a.push for a in actions if isinstance(a, Dispatch)]
        answered += [f[1] for f in sent(actions) if f[1] in asked]
    answered += [f[1] for f in sent([s.answered(p, {}) for p in pushes])]
    assert sorted(answered) == sorted(asked)
    assert s.in_flight == 0 == s.in_flight_bytes
