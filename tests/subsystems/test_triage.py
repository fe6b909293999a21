from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.canonical import canonical
from bridge.message import Outcome
from tests.subsystems.everywhere import REGISTRY, Elsewhere, Message, run

CONTRACT = REGISTRY.get("triage")
RULES = CONTRACT.initial_state["rules"]
T = 1_767_225_600_000  # `run` begins here

WINDOW_MS = 1_800_000
edges = st.sampled_from([0, 1, WINDOW_MS - 1, WINDOW_MS, WINDOW_MS + 1, 3_600_000])
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(-1e6, 1e6)
    | st.text(max_size=4)
)
names = st.text(max_size=4) | st.sampled_from(["constructor", "toString", "é"])
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(names, v, max_size=3)
)
texts = st.sampled_from(["", " ", "\t\n", "\u00a0", "a", " é ", "😀"]) | scalars
payloads = st.fixed_dictionaries(
    {},
    optional={
        "prompt": texts,
        "message": texts,
        "originSession": texts,
        "level": st.sampled_from(["fatal", "error", "FATAL", None]),
        "priority": st.sampled_from(["high", "urgent", "normal", 1]),
        "immediateTelegram": st.sampled_from([True, False, "true", 1]),
        "x": values,
        # 49 kB and 90 kB: the third or second of them fills a batch
        "large": st.sampled_from([["x" * 100] * 450, "é" * 45_000]),
    },
)
types = st.sampled_from(
    [
        *("gateway/sleep", "gateway/wake", "cron.heartbeat", "telegram.message.received"),
        *("alert", "constructor", "toString", "größe"),
        *RULES["suppressed"][:2],
        *RULES["batched"],
    ]
)
events = st.fixed_dictionaries(
    {
        "id": st.integers(0, 40).map(str),
        "type": types,
        "source": st.just("s"),
        "payload": payloads,
        "ts": st.just(T),
    },
    optional={"trace": values},
)
lists = st.lists(types, max_size=5, unique=True)
receives = st.tuples(st.just("receive"), st.fixed_dictionaries({"event": events}), edges)
asides: st.SearchStrategy[Message] = st.one_of(
    st.tuples(st.sampled_from(["sleep", "wake", "flush", "pending"]), st.just({}), edges),
    st.tuples(
        st.just("configure"),
        st.fixed_dictionaries({}, optional={"suppressed": lists, "batched": lists}),
        edges,
    ),
)
conversations = st.lists(receives | receives | receives | asides, max_size=40)


def event(name: str, kind: str = "meeting.analyzed", payload: Any = None) -> Any:
    return {"id": name, "type": kind, "source": "s", "payload": payload or {}, "ts": T}


def receive(received: Any, after_ms: int = 0) -> Message:
    return "receive", {"event": received}, after_ms


def outcomes(messages: list[Message], state: Any = None) -> list[Outcome]:
    answers = [answer for _, answer in run("triage", messages, state)]
    found = [answer for answer in answers if isinstance(answer, Outcome)]
    assert found == answers
    return found


def digests(outcome: Outcome) -> list[Any]:
    return [e["payload"] for e in outcome.effects if e.get("type") == "triage.digest"]


@given(conversations)
def test_what_is_batched_comes_out_once_in_order_and_whole(messages: list[Message]) -> None:
    batched, flushed, left = [], [], []
    for asked, answer in run("triage", messages):
        assert isinstance(answer, Outcome)
        if asked.kind == "query":
            continue
        if asked.operation == "receive" and answer.reply["decision"] == "batched":
            batched.append(asked.request["event"])
        for digest in digests(answer):
            assert digest["count"] == len(digest["members"]) == sum(digest["by_type"].values())
            flushed += digest["members"]
        left = answer.state["batch"]["members"]
    assert canonical(batched) == canonical(flushed + left)


@given(conversations)
def test_the_timer_is_set_while_there_is_a_batch_and_only_then(messages: list[Message]) -> None:
    timer_ms = None
    for asked, answer in run("triage", messages):
        assert isinstance(answer, Outcome)
        if asked.kind == "query":
            continue
        for effect in answer.effects:
            if effect["effect"] == "schedule":
                timer_ms = effect["at_ms"]
            elif effect["effect"] == "cancel":
                timer_ms = None
        batch = answer.state["batch"]
        since_ms = batch["since_ms"]
        assert (since_ms is None) == (batch["members"] == []) == (batch["size"] == 0)
        assert timer_ms == (None if since_ms is None else since_ms + 3_600_000)


@given(conversations)
def test_an_id_is_a_duplicate_if_it_was_new_at_most_half_an_hour_ago(
    messages: list[Message],
) -> None:
    new_ms: dict[str, int] = {}
    for asked, answer in run("triage", messages):
        assert isinstance(answer, Outcome)
        if asked.operation != "receive":
            continue
        now_ms, name = asked.context.now_ms, asked.request["event"]["id"]
        seen = name in new_ms and now_ms - new_ms[name] <= WINDOW_MS
        assert (answer.reply["decision"] == "duplicate") == seen
        if seen:
            assert (answer.effects, canonical(answer.state)) == ([], canonical(asked.state))
        else:
            new_ms[name] = now_ms


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(messages=conversations)
def test_every_runtime_answers_with_the_same_bytes(
    others: Elsewhere, messages: list[Message]
) -> None:
    others.agree("triage", messages)


def test_a_thousand_ids_are_remembered_in_every_runtime(others: Elsewhere) -> None:
    messages = [receive(event(str(n), "progress"), 1) for n in range(1010)]
    last = outcomes(messages)[-1]
    assert last.state["seen"]["ids"] == [str(n) for n in range(10, 1010)]
    times = last.state["seen"]["at_ms"]
    assert len(times) == 1000
    assert all(after - before == 1 for before, after in pairwise(times))
    again = [receive(event(name, "progress")) for name in ("10", "9", "11", "1009")]
    answers = outcomes(again, last.state)
    # "9" puts "10" out: its being a duplicate before did not make it younger.
    assert [a.reply["decision"] for a in answers] == [
        *("duplicate", "suppressed", "duplicate", "duplicate")
    ]
    others.agree("triage", again, last.state)


@pytest.mark.parametrize("mode", ["awake", "asleep"])
def test_a_hundred_members_fill_a_batch_in_every_runtime(others: Elsewhere, mode: str) -> None:
    state = {**CONTRACT.initial_state, "mode": mode}
    messages = [receive(event(str(n)), 1) for n in range(101)]
    answers = outcomes(messages, state)
    assert [n for n, answer in enumerate(answers) if digests(answer)] == [99]
    [digest] = digests(answers[99])
    assert digest["by_type"] == {"meeting.analyzed": 100}
    assert digest["members"] == [event(str(n)) for n in range(100)]
    assert answers[100].effects[0]["effect"] == "schedule"
    others.agree("triage", messages, state)


@pytest.mark.parametrize(("text_bytes", "full"), [(130_975, False), (130_976, True)])
def test_a_single_member_may_fill_a_batch_in_every_runtime(
    others: Elsewhere, text_bytes: int, full: bool
) -> None:
    # 96 besides: the event 8, its names 21, its values 9 + 24 + 9 + 8 + 8, and of `x` 1 + 8
    text = "日本日本" + "x" * (text_bytes - 12)
    messages = [receive(event("1", "meeting.analyzed", {"x": text}))]
    [answer] = outcomes(messages)
    assert (answer.state["batch"]["size"] == 0) == full
    assert [e["effect"] for e in answer.effects] == (["emit", "cancel"] if full else ["schedule"])
    if not full:
        assert answer.state["batch"]["size"] == 131_071
    others.agree("triage", messages)


def test_a_batch_of_what_is_empty_is_bounded_too(others: Elsewhere) -> None:
    messages = [receive(event("1", "meeting.analyzed", {"x": [""] * 16_372}))]
    [answer] = outcomes(messages)
    assert [e["effect"] for e in answer.effects] == ["emit", "cancel"]
    others.agree("triage", messages)
