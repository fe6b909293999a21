from __future__ import annotations

import time
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.errors import Refusal
from bridge.message import Outcome
from tests.deadline import DEADLINE_S
from tests.subsystems.everywhere import Elsewhere, Message, run

LONGEST = 100_000
RESERVED = ("gateway", "main", "pid-1", "pid-", "pid-desk")
blanks = st.text(st.sampled_from("\t\n\v\f\r \u00a0\u3000\x1c\u2028\ufeff"), max_size=4)
texts = st.builds("".join, st.tuples(blanks, st.text(max_size=5), blanks)).filter(bool)
sessions = st.none() | st.sampled_from([*RESERVED, "desk", "Main", "pid", "xpid-1", "a:b/c"])
anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-1e6, 1e6) | st.text(max_size=3),
    lambda below: st.lists(below, max_size=2) | st.dictionaries(st.text(max_size=3), below),
    max_leaves=4,
)
tool = {"id": st.just("call-1"), "toolName": st.just("bash")}
frames: st.SearchStrategy[Any] = st.one_of(
    st.fixed_dictionaries({"type": st.just("text_delta"), "delta": st.text(min_size=1)}),
    st.fixed_dictionaries({"type": st.just("tool_call"), **tool}, optional={"input": anything}),
    st.fixed_dictionaries(
        {"type": st.just("tool_result"), **tool},
        optional={"content": anything, "isError": st.booleans()},
    ),
    st.fixed_dictionaries({"type": st.just("turn_end")}),
    st.fixed_dictionaries({"type": st.just("error"), "message": st.text(min_size=1)}),
)
asked: st.SearchStrategy[Message] = st.one_of(
    st.tuples(st.just("configure"), st.fixed_dictionaries({"session": sessions}), st.just(1)),
    st.tuples(st.just("prompt"), st.fixed_dictionaries({"text": texts}), st.just(1)),
    st.tuples(st.just("say"), st.fixed_dictionaries({"frame": frames}), st.just(1)),
    st.tuples(st.sampled_from(["abort", "status"]), st.just({}), st.just(1)),
)
conversations = st.lists(asked, max_size=30)


@given(conversations)
def test_what_is_typed_goes_to_the_session_that_was_set_and_nowhere_else(
    messages: list[Message],
) -> None:
    session = None
    for asked, answer in run("terminal", messages):
        if isinstance(answer, Refusal):
            continue
        if asked.operation == "configure":
            session = asked.request["session"]
            assert session not in RESERVED
        pushed = [effect for effect in answer.effects if effect["effect"] == "system_event"]
        assert len(pushed) == (asked.operation == "prompt")
        for effect in pushed:
            assert effect["session"] == session
            assert effect["payload"]["prompt"] in asked.request["text"]


@given(conversations)
def test_each_frame_that_is_said_becomes_one_event_with_all_of_it(
    messages: list[Message],
) -> None:
    for asked, answer in run("terminal", messages):
        if asked.operation == "say":
            assert isinstance(answer, Outcome)
            [effect] = answer.effects
            kind = effect["type"].removeprefix("terminal.")
            assert {"type": kind, **effect["payload"]} == asked.request["frame"]


def test_white_space_within_a_long_prompt_takes_no_time(others: Elsewhere) -> None:
    """A regular expression took 10 s in Node and 60 s in Elixir."""
    text = "a" + " " * (LONGEST - 2) + "b"
    messages: list[Message] = [
        ("configure", {"session": "desk"}, 0),
        ("prompt", {"text": text}, 0),
    ]
    started = time.monotonic()
    others.agree("terminal", messages)
    assert time.monotonic() - started < DEADLINE_S / 3


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(messages=conversations)
def test_every_runtime_answers_with_the_same_bytes(
    others: Elsewhere, messages: list[Message]
) -> None:
    others.agree("terminal", messages)
