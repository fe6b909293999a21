from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.errors import Refusal
from bridge.message import Outcome
from tests.subsystems.everywhere import Elsewhere, Message, run

RESERVED = ("pid-1", "pid-007", "pid-99999999999999999999")
ids = st.sampled_from(
    ["a", "A", "é", "e\u0301", "～", "😀", "constructor", "toString", "pid-", "pid-1x", "pid-1\n"]
)
metas = st.dictionaries(
    st.text(max_size=3),
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-1e6, 1e6) | st.text(max_size=3),
    max_size=3,
)
named = st.fixed_dictionaries({"id": ids})
ttls = st.sampled_from([1000, 60_000, 86_400_000])
registers = st.fixed_dictionaries(
    {"id": ids | st.sampled_from(RESERVED), "kind": st.sampled_from(["pi", "daemon"])},
    optional={"meta": metas, "ttl_ms": ttls},
)
afters = st.sampled_from([0, 1, 999, 1000, 1001, 59_999, 60_000, 60_001])
asked: st.SearchStrategy[Message] = st.one_of(
    st.tuples(st.just("register"), registers, afters),
    st.tuples(st.sampled_from(["renew", "leave", "expire"]), named, afters),
    st.tuples(
        st.just("list"),
        st.fixed_dictionaries({}, optional={"kind": st.sampled_from(["pi", "daemon", "x"])}),
        afters,
    ),
)
conversations = st.lists(asked, max_size=40)


@given(conversations)
def test_who_joined_leaves_before_joining_again(messages: list[Message]) -> None:
    here: set[str] = set()
    for asked, answer in run("sessions", messages):
        if isinstance(answer, Refusal):
            continue
        for effect in answer.effects:
            if effect.get("type") == "sessions.joined":
                assert effect["payload"]["id"] not in here
                here.add(effect["payload"]["id"])
            elif effect.get("type") == "sessions.left":
                here.remove(effect["payload"]["id"])
        if asked.kind == "command":
            assert set(answer.state["leases"]) == here


@given(conversations)
def test_each_lease_has_a_timer_that_ends_with_it(messages: list[Message]) -> None:
    timers: dict[str, int] = {}
    for asked, answer in run("sessions", messages):
        if isinstance(answer, Refusal) or asked.kind == "query":
            continue
        for effect in answer.effects:
            if effect["effect"] == "schedule":
                timers[effect["id"]] = effect["at_ms"]
            elif effect["effect"] == "cancel":
                del timers[effect["id"]]
        if asked.operation == "expire" and answer.reply["expired"]:
            timers.pop(f"expire/{asked.request['id']}")  # it was due
        leases = answer.state["leases"].values()
        assert timers == {f"expire/{lease['id']}": lease["expires_ms"] for lease in leases}


@given(conversations)
def test_who_is_known_is_who_is_listed(messages: list[Message]) -> None:
    """Expired leases are neither, whether or not their timers have run."""
    for asked, answer in run("sessions", messages):
        leases: dict[str, Any] = asked.state["leases"]
        now_ms = asked.context.now_ms
        live = sorted(name for name, lease in leases.items() if lease["expires_ms"] > now_ms)
        match asked.operation:
            case "list":
                assert isinstance(answer, Outcome)
                kind = asked.request.get("kind")
                wanted = [leases[n] for n in live if kind in (None, leases[n]["kind"])]
                assert answer.reply == {"sessions": wanted}
            case "renew" | "leave":
                assert isinstance(answer, Outcome) == (asked.request["id"] in live)
            case "register" if isinstance(answer, Outcome):
                known = asked.request["id"] in live
                assert answer.reply["status"] == ("renewed" if known else "joined")


@given(conversations)
def test_only_reserved_ids_are_refused(messages: list[Message]) -> None:
    for asked, answer in run("sessions", messages):
        if asked.operation == "register":
            reserved = re.fullmatch("pid-[0-9]+", asked.request["id"]) is not None
            assert isinstance(answer, Refusal) == reserved


@pytest.mark.parametrize(("after_ms", "known"), [(999, True), (1000, False)])
def test_renewing_late_by_a_millisecond_is_too_late(after_ms: int, known: bool) -> None:
    messages: list[Message] = [
        ("register", {"id": "a", "kind": "pi", "ttl_ms": 1000}, 0),
        ("renew", {"id": "a"}, after_ms),
    ]
    _, (_, answer) = run("sessions", messages)
    assert isinstance(answer, Outcome) == known


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(messages=conversations)
def test_every_runtime_answers_with_the_same_bytes(
    others: Elsewhere, messages: list[Message]
) -> None:
    others.agree("sessions", messages)
