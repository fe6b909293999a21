"""Each broken promise is found: a correct history, changed in one way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bridge.history import Finding
from bridge.journal.values import Dead, Route
from bridge.message import Version
from tests.history.world import World, kinds, line


def test_an_acknowledged_message_without_an_entry_is_lost(world: World) -> None:
    del world.entries[1]
    found = world.check()
    assert Finding("lost", "k", "m2", "add was acknowledged and is not in the journal") in found
    assert Finding("lost", "k", "m3", "the journal goes from seq 1 to 3") in found


def test_the_last_entry_missing_is_lost_though_no_gap_shows(world: World) -> None:
    evidence = replace(world.evidence(), entries=world.entries[:-1])
    assert {"lost", "wrong_state"} <= kinds(world.check(evidence))


def test_a_state_of_another_version_is_found(world: World) -> None:
    state = world.entries[-1]["state"]
    for version in (Version(3, "m4"), Version(4, "m3"), Version(5, "m4")):
        evidence = replace(world.evidence(), states={"k": (version, state)})
        assert kinds(world.check(evidence)) == {"wrong_state"}


def test_a_state_of_other_bytes_is_found(world: World) -> None:
    evidence = replace(world.evidence(), states={"k": (Version(4, "m4"), {"total": 11})})
    assert kinds(world.check(evidence)) == {"wrong_state"}


def test_a_missing_state_is_lost(world: World) -> None:
    assert kinds(world.check(replace(world.evidence(), states={}))) == {"lost"}


def test_a_state_without_entries_is_lost(world: World) -> None:
    states = {**world.evidence().states, "other": (Version(1, "m"), {"total": 1})}
    assert kinds(world.check(replace(world.evidence(), states=states))) == {"lost"}


def test_an_effect_neither_executed_waiting_nor_dead_is_lost(world: World) -> None:
    body = world.executed.pop(2)
    assert kinds(world.check()) == {"lost"}
    dead = Dead("m3/1", "tally", "k", "effect", "inngest", body, "no", 8, 0)
    assert world.check(replace(world.evidence(), dead=[dead])) == []


def test_an_event_of_a_key_passed_over_is_lost(world: World) -> None:
    world.lines.remove(line(world, "pushed", client="ann", seq=2))
    found = world.check()
    assert Finding("lost", "k", "m3", "ann got event (3, 0) without (2, 0) before it") in found


def test_the_last_events_missing_are_lost_once_settled(world: World) -> None:
    world.lines.remove(line(world, "pushed", client="ann", seq=4))
    assert world.check(settled=False) == []
    assert world.check() == [Finding("lost", "k", "", "ann never got event (4, 0)")]


def test_the_first_event_missing_of_an_own_command_is_lost(world: World) -> None:
    world.lines.remove(line(world, "pushed", client="ann", seq=1))
    assert world.check() == [Finding("lost", "k", "", "ann never got event (1, 0)")]


def test_a_message_committed_twice_is_repeated(world: World) -> None:
    again = {**world.entries[3], "seq": 5, "state": {"total": 14}, "reply": {"total": 14}}
    world.entries.append(again)
    assert "repeated" in kinds(world.check())


def test_an_idempotency_key_committed_twice_is_repeated(world: World) -> None:
    for n in (1, 2):
        world.tokens.clear()
        request = {"n": 1, "token": "x"}
        world.clients[0].open[f"t{n}"] = ("once", request)
        world.attempt(world.clients[0], f"t{n}")
        world.commit(f"t{n}", "once", request).update(runtime="python", reason="owner")
    found = world.check(settled=False)
    text = "its idempotency key was committed before, by t1"
    assert Finding("repeated", "k", "t2", text) in found


def test_a_sequence_number_twice_is_repeated(world: World) -> None:
    world.entries[2]["seq"] = 2
    assert "repeated" in kinds(world.check())


def test_entries_in_another_order_than_their_numbers_are_found(world: World) -> None:
    world.entries[1], world.entries[2] = world.entries[2], world.entries[1]
    assert Finding("reordered", "k", "m2", "seq 2 after 3 in the journal") in world.check()


def test_an_effect_executed_twice_is_repeated_where_once_is_promised(world: World) -> None:
    world.executed.append(world.executed[0])
    assert world.check() == []
    found = world.check(exactly_once=frozenset({"inngest"}))
    text = "inngest effect m1/mail was executed 2 times"
    assert found == [Finding("repeated", "k", "m1", text)]


def test_an_event_pushed_twice_on_one_join_is_found(world: World) -> None:
    world.lines.append(dict(line(world, "pushed", client="ann", seq=4)))
    assert kinds(world.check()) == {"reordered"}


def test_events_may_repeat_after_a_join_that_resumes(world: World) -> None:
    world.join(world.clients[0], resumed=True)
    world.lines.append(dict(line(world, "pushed", client="ann", seq=4)))
    assert world.check() == []


def test_a_commit_nobody_sent_is_a_phantom(world: World) -> None:
    world.lines = [each for each in world.lines if each.get("message_id") != "m4"]
    assert kinds(world.check()) == {"phantom"}


def test_a_commit_of_another_request_than_sent_is_a_phantom(world: World) -> None:
    line(world, "sent", message_id="m2")["request"] = {"n": 7}
    assert kinds(world.check()) == {"phantom"}


def test_defaults_filled_in_by_the_gateway_are_no_phantoms(world: World) -> None:
    line(world, "sent", message_id="m1")["request"] = {}
    assert world.check() == []


def test_an_executed_effect_of_no_entry_is_a_phantom(world: World) -> None:
    world.executed.append({"id": "x", "name": "tally/added", "data": {}})
    assert kinds(world.check()) == {"phantom"}


def test_an_executed_effect_with_other_data_is_a_phantom(world: World) -> None:
    world.executed[1] = {**world.executed[1], "data": {"n": 2, "total": 4}}
    assert kinds(world.check()) == {"phantom"}


def test_an_event_that_was_never_emitted_is_a_phantom(world: World) -> None:
    changes: list[dict[str, Any]] = [
        {"seq": 9},
        {"n": 1},
        {"type": "tally.lost"},
        {"payload": {}},
    ]
    for change in changes:
        pushed = line(world, "pushed", client="ann", seq=4)
        world.lines[world.lines.index(pushed)] = {**pushed, **change}
        assert "phantom" in kinds(world.check())
        world.lines[world.lines.index({**pushed, **change})] = pushed
    assert world.check() == []


def test_one_connections_pushes_committed_in_another_order_are_found(world: World) -> None:
    first, second = (line(world, "sent", message_id=name) for name in ("m1", "m2"))
    one, two = world.lines.index(first), world.lines.index(second)
    world.lines[one], world.lines[two] = second, first
    found = world.check()
    assert Finding("reordered", "k", "m2", "committed after m1, which ann pushed later") in found


def test_pushes_on_two_connections_may_commit_in_either_order(world: World) -> None:
    first, second = (line(world, "sent", message_id=name) for name in ("m1", "m2"))
    one, two = world.lines.index(first), world.lines.index(second)
    world.lines[one], world.lines[two] = second, {**first, "connection": 2}
    assert world.check() == []


def test_a_denied_attempt_does_not_hold_the_order(world: World) -> None:
    again = {**line(world, "sent", message_id="m1"), "attempt": 2}
    world.lines.insert(world.lines.index(line(world, "sent", message_id="m3")), again)
    line(world, "told", message_id="m1").update(attempt=2)
    assert world.check() == []  # unanswered, the first attempt may have been the one
    denial = {"code": "overloaded"}
    world.lines.insert(
        world.lines.index(again),
        {
            "event": "told",
            "at": again["at"],
            "client": "ann",
            "message_id": "m1",
            "attempt": 1,
            "outcome": "error",
            "reply": denial,
        },
    )
    found = world.check()
    assert Finding("reordered", "k", "m2", "committed after m1, which ann pushed later") in found


def test_a_commit_before_one_acknowledged_before_it_was_sent_is_found(world: World) -> None:
    line(world, "sent", message_id="m3")["at"] = line(world, "told", message_id="m4")["at"] + 1
    found = world.check()
    text = "committed before m4, which was acknowledged before this was sent"
    assert Finding("reordered", "k", "m3", text) in found


def test_events_out_of_order_are_found(world: World) -> None:
    first, second = (line(world, "pushed", client="bob", seq=seq) for seq in (2, 3))
    one, two = world.lines.index(first), world.lines.index(second)
    world.lines[one], world.lines[two] = second, first
    assert {"lost", "reordered"} == kinds(world.check())


def test_effects_of_a_key_out_of_order_are_found(world: World) -> None:
    world.executed[1], world.executed[2] = world.executed[2], world.executed[1]
    assert kinds(world.check()) == {"reordered"}


def test_unordered_effects_may_come_in_any_order(world: World) -> None:
    world.executed.reverse()
    for entry in world.entries:
        entry["effects"] = [
            {**effect, "unordered": True} if effect["effect"] == "inngest" else effect
            for effect in entry["effects"]
        ]
    assert world.check(handler=None) == []


def test_time_going_back_on_a_key_is_found(world: World) -> None:
    world.entries[2]["at_ms"] = world.entries[1]["at_ms"] - 1
    assert kinds(world.check()) == {"reordered"}


def test_a_reply_other_than_the_committed_one_is_found(world: World) -> None:
    line(world, "told", message_id="m2")["reply"] = {"total": 4}
    assert kinds(world.check()) == {"wrong_reply"}


def test_a_commit_that_every_answer_denied_is_found(world: World) -> None:
    told = line(world, "told", message_id="m4")
    told.update(outcome="error", reply={"code": "deadline_exceeded"})
    assert kinds(world.check()) == {"wrong_reply"}
    told.update(reply={"code": "outcome_unknown"})
    assert world.check() == []


def test_a_query_told_a_state_not_to_be_seen_is_found(world: World) -> None:
    world.clients[0].open["q"] = ("total", {})
    world.attempt(world.clients[0], "q")
    world.told(world.clients[0], "q", 1, "ok", {"total": 10})
    assert world.check() == []
    world.lines[-1]["reply"] = {"total": 6}
    assert kinds(world.check()) == {"wrong_reply"}


def test_a_query_during_commands_may_see_each_state_of_the_time(world: World) -> None:
    for total in (0, 1, 3, 6, 10):
        sent = {
            **line(world, "sent", message_id="m4"),
            "message_id": "q",
            "operation": "total",
            "request": {},
            "at": line(world, "sent", message_id="m1")["at"],
        }
        told = {
            **line(world, "told", message_id="m4"),
            "message_id": "q",
            "reply": {"total": total},
        }
        world.lines += [sent, told]
        assert world.check() == []
        del world.lines[-2:]


@pytest.mark.parametrize(
    "change",
    [
        {"runtime": "elixir"},
        {"runtime": "typescript"},
        {"reason": "fallback"},
        {"reason": "canary"},
        {"runtime": "elixir", "reason": "fallback"},
    ],
)
def test_a_commit_by_another_than_the_owner_is_found(
    world: World, change: dict[str, Any]
) -> None:
    world.entries[2].update(change)
    assert kinds(world.check()) == {"wrong_owner"}


def test_a_commit_at_an_epoch_that_never_was_is_found(world: World) -> None:
    world.entries[3].update(epoch=2)
    text = "committed at epoch 2, which the route log does not have"
    assert world.check() == [Finding("wrong_owner", "k", "m4", text)]


def test_a_late_commit_of_an_old_owner_is_found(world: World) -> None:
    world.routes.append(Route("tally", "elixir", "python", 2, 0))
    world.entries[2].update(epoch=2, runtime="elixir")
    found = world.check()
    assert found == [
        Finding("wrong_owner", "k", "m4", "committed at epoch 1, after a commit at epoch 2")
    ]


def test_the_epochs_named_fallback_may_commit(world: World) -> None:
    world.entries[2].update(runtime="typescript", reason="fallback")
    assert world.check() == []


@pytest.mark.parametrize(
    "change",
    [{"reply": {"total": 5}}, {"state": {"total": 5}}, {"effects": []}],
    ids=["reply", "state", "effects"],
)
def test_an_outcome_the_handler_does_not_give_again_is_found(
    world: World, change: dict[str, Any]
) -> None:
    world.entries[1].update(change)
    assert "wrong_replay" in kinds(world.check())


def test_an_entry_at_which_the_handler_raises_is_found(world: World) -> None:
    world.entries[1]["request"] = {"n": 2, "more": 1}
    line(world, "sent", message_id="m2")["request"] = {"n": 2}
    assert world.check() == []
    world.entries[1]["request"] = {}
    assert "wrong_replay" in kinds(world.check())
