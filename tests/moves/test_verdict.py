"""Pass, fail or inconclusive, and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from bridge.errors import BridgeError
from bridge.moves.evidence import (
    Accepted,
    Evidence,
    Group,
    bucket_of_us,
    sample_name,
    signature,
)
from bridge.moves.machine import Change, Move, start
from bridge.moves.plan import parse_plan
from bridge.moves.verdict import Policy, check_policy, judge

GROUP = Group("add", "/reply/total", "value")


def move(plan: str = "shadow:100,canary:50", **policy: float) -> Move:
    return start(
        None,
        *("counter", "python", "elixir", parse_plan(plan, 20), Policy(**policy).as_json()),
        contract="c",
        auto=True,
        change=Change(2, 0, "", ""),
    )


def took(runtime: str, ms: float, n: int, what: str = "took") -> dict[str, int]:
    return {f"{what}:{runtime}:{bucket_of_us(ms * 1000)}": n}


def evidence(**counts: int) -> Evidence:
    return Evidence(Counter(counts))


def test_nothing_is_inconclusive() -> None:
    found = judge(move(), evidence())
    assert (found.outcome, found.reasons) == ("inconclusive", ("0 of 100 comparisons",))


def test_enough_of_the_same_passes_and_says_what_it_shows() -> None:
    assert judge(move(), evidence(same=99)).outcome == "inconclusive"
    found = judge(move(), evidence(same=100))
    assert found.outcome == "pass"
    assert "fewer than 3.62%" in found.reasons[0]


def test_one_difference_that_nobody_accepted_fails() -> None:
    sum = Evidence(Counter({"same": 5000, signature([GROUP]): 1}))
    assert judge(move(), sum).reasons == ("1 of 5001 compared messages differ",)
    assert judge(move(), sum).outcome == "fail"
    assert judge(move(tolerated=0.01), sum).outcome == "pass"


def test_a_timeout_may_be_the_machines_matter_but_not_again_and_again() -> None:
    late = signature([Group("add", "", "timeout")])
    assert judge(move(), Evidence(Counter({"same": 99, late: 1}))).outcome == "pass"
    found = judge(move(), Evidence(Counter({"same": 190, late: 10})))
    assert found.reasons == ("elixir did not end in 10 of 200 messages",)


def test_what_is_accepted_counts_until_it_expires_and_never_for_others() -> None:
    accepted = [Accepted("1", "", "/reply/total", "value", "ann", "rounding", until_ms=1000)]
    sum = Evidence(Counter({"same": 99, signature([GROUP]): 1}))
    assert judge(move(), sum, accepted, now_ms=999).outcome == "pass"
    assert judge(move(), sum, accepted, now_ms=1000).outcome == "fail"
    both = Evidence(Counter({"same": 99, signature([GROUP, Group("add", "/state", "value")]): 1}))
    assert judge(move(), both, accepted, now_ms=1).outcome == "fail"
    other = [replace(accepted[0], operation="put")]
    assert judge(move(), sum, other, now_ms=1).outcome == "fail"


def test_a_violated_contract_and_a_crash_loop_are_urgent() -> None:
    for found in (
        judge(move(), evidence(violations=1)),
        judge(move(), evidence(losses=3)),
    ):
        assert (found.outcome, found.urgent) == ("fail", True)
    assert judge(move(), evidence(losses=2)).outcome == "inconclusive"


def test_a_candidate_that_others_stand_in_for_fails() -> None:
    canary = replace(move(), phase="canary", step=1)
    counts = {"same": 100, "asked:50": 30}
    assert judge(canary, Evidence(Counter({**counts, "stood_in:50": 1}))).outcome == "pass"
    assert judge(canary, Evidence(Counter({**counts, "stood_in:50": 20}))).outcome == "fail"
    # What happened in another step is that step's.
    assert judge(canary, Evidence(Counter({**counts, "stood_in:5": 20}))).outcome == "pass"


def test_a_canary_wants_answers_of_the_candidate() -> None:
    canary = replace(move(), phase="canary", step=1)
    found = judge(canary, Evidence(Counter({"same": 100, "asked:50": 25, "stood_in:50": 6})))
    assert found.outcome in ("fail", "inconclusive")
    found = judge(canary, Evidence(Counter({"same": 100, "asked:50": 19})))
    assert found.reasons == ("19 of 20 answers of elixir",)


def test_a_slow_candidate_fails_and_one_slow_answer_does_not() -> None:
    base = {"same": 100, **took("python", 2, 100, "whole")}
    slow = Evidence(Counter({**base, **took("elixir", 100, 40)}))
    assert judge(move(), slow).outcome == "fail"
    once = Evidence(Counter({**base, **took("elixir", 2, 99), **took("elixir", 500, 1)}))
    assert judge(move(), once).outcome == "pass"
    # A busy machine is slow for both.
    busy = {"same": 100, **took("python", 60, 100, "whole"), **took("elixir", 150, 100)}
    assert judge(move(), Evidence(Counter(busy))).outcome == "pass"


def test_a_candidate_that_can_hardly_be_asked_proves_nothing() -> None:
    found = judge(move(), evidence(same=100, missed=100))
    assert found.reasons == ("elixir could not be asked 100 times",)


def test_what_can_never_pass_is_refused_at_the_start() -> None:
    check_policy(Policy(below=0.01), 472)
    with pytest.raises(BridgeError, match="472 of them"):
        check_policy(Policy(below=0.01), 471)
    with pytest.raises(BridgeError):
        check_policy(Policy(tolerated=0.02, below=0.01), 10_000)
    with pytest.raises(BridgeError):
        check_policy(Policy(tolerated=1.5), 10_000)


def test_evidence_is_read_as_it_is_stored() -> None:
    stored = {
        "move": "m",
        "build": "b",
        "since_ms": "7",
        "same": "3",
        signature([GROUP]): "2",
        sample_name(GROUP): '{"message":"x"}',
        **{name: str(n) for name, n in took("elixir", 4, 10).items()},
    }
    sum = Evidence.of_hash(stored)
    assert (sum.build, sum.compared, sum.different()) == ("b", 5, 2)
    assert sum.groups() == {GROUP: 2}
    assert sum.samples() == {GROUP: {"message": "x"}}
    latency = sum.latency("took", "elixir")
    assert latency.n == 10
    assert latency.percentile_us(99) == pytest.approx(4000, rel=0.1)
