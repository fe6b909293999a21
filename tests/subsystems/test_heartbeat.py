from __future__ import annotations

from copy import deepcopy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bridge.contracts.files import BUILT_IN
from bridge.contracts.registry import Registry
from bridge.message import Outcome, context_for
from bridge.subsystems.heartbeat import handle

CONTRACT = Registry.load(BUILT_IN).get("heartbeat")
intervals = st.integers(0, 31_536_000_000)
states = st.fixed_dictionaries(
    {
        "every_ms": intervals,
        "min_gap_ms": intervals,
        "profile": st.sampled_from(["early", "head"]),
        "last_ms": st.none() | st.integers(0, 10**12),
        "runs": st.integers(0, 10**6),
        "skipped": st.integers(0, 10**6),
    }
)
configures = st.fixed_dictionaries(
    {},
    optional={
        "every_ms": intervals,
        "min_gap_ms": intervals,
        "profile": st.sampled_from(["early", "head"]),
    },
)
messages: st.SearchStrategy[tuple[str, Any]] = st.one_of(
    st.tuples(st.just("configure"), configures),
    st.tuples(st.sampled_from(["tick", "status"]), st.just({})),
)


def answer(state: Any, name: str, request: Any, now_ms: int, message_id: str = "m") -> Outcome:
    operation = CONTRACT.operation(name)
    context = context_for(message_id, now_ms, now_ms + 5000, "UTC", "key")
    request = operation.check_request(request)
    outcome = Outcome(*handle(state, name, request, context))
    return CONTRACT.check_outcome(operation, outcome, "python")


@given(states, messages, st.integers(0, 10**12))
def test_every_answer_holds_to_the_contract_and_leaves_the_state_alone(
    state: Any, message: Any, now_ms: int
) -> None:
    before = deepcopy(state)
    name, request = message
    answer(state, name, request, now_ms)
    assert state == before


@given(states, st.integers(0, 10**12))
def test_a_tick_runs_or_is_counted_as_skipped_and_never_both(state: Any, now_ms: int) -> None:
    outcome = answer(state, "tick", {}, now_ms)
    ran = state["last_ms"] is None or now_ms - state["last_ms"] >= state["min_gap_ms"]
    assert outcome.reply["status"] == ("ran" if ran else "skipped")
    assert outcome.state["runs"] - state["runs"] == ran
    assert outcome.state["skipped"] - state["skipped"] == (not ran)
    assert len(outcome.effects) == 10 * ran + (state["every_ms"] > 0)


@given(states, st.integers(0, 10**12))
def test_status_tells_the_earliest_time_a_tick_runs(state: Any, now_ms: int) -> None:
    next_ms = answer(state, "status", {}, now_ms).reply["next_ms"]
    if next_ms is not None:
        assert answer(state, "tick", {}, next_ms).reply["status"] == "ran"
        if state["min_gap_ms"] > 0:
            assert answer(state, "tick", {}, next_ms - 1).reply["status"] == "skipped"


@given(states, st.integers(0, 10**12))
def test_two_ticks_at_one_time_ask_for_events_with_other_ids(state: Any, now_ms: int) -> None:
    state = {**state, "last_ms": None}
    ids = {
        effect["id"]
        for message_id in ("one", "two")
        for effect in answer(state, "tick", {}, now_ms, message_id).effects
        if effect["effect"] == "inngest"
    }
    assert len(ids) == 20
