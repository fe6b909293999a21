"""`bridge move` and what goes with it, where only Python runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bridge.cli.status import moving
from tests.cli.conftest import Cli
from tests.running import SUBSYSTEMS


def test_a_move_that_cannot_work_is_refused_with_the_reason(cli: Cli) -> None:
    for arguments, text in (
        (("move", "counter", "--to", "python"), "python owns counter already"),
        (("move", "counter", "--to", "elixir"), "elixir cannot be reached for counter"),
        (("move", "nobody", "--to", "elixir"), "no subsystem 'nobody'"),
        (("move", "counter", "--to", "elixir", "--plan", "canary:0"), "1 to 100 percent"),
        (("move", "promote", "counter"), "no move of counter"),
        (("diff", "counter"), "no move of counter"),
        (("scorecard", "counter"), "nothing to compare"),
        (("explain", "never-sent"), "no message 'never-sent'"),
        (("diff", "forget", "counter", "x"), "nothing accepted as 'x'"),
    ):
        result = cli(*arguments)
        assert (result.code, result.out) == (1, ""), arguments
        assert text in result.err


@pytest.mark.parametrize(
    "arguments",
    [
        *(("move", "counter"), ("move", "promote"), ("move", "history"), ("move", "a", "b")),
        *(("diff", "accept", "counter"), ("diff", "counter", "x")),
        ("diff", "accept", "counter", "/reply", "value"),
    ],
)
def test_what_is_asked_wrongly_is_a_matter_of_usage(cli: Cli, arguments: tuple[str, ...]) -> None:
    assert cli(*arguments).code == 2


def test_a_route_by_hand_is_in_the_history(cli: Cli) -> None:
    cli("route", "counter", "python", "--by", "ann", "--why", "as it was")
    rows = cli("move", "history", "counter", "--json").rows
    assert [(row["event"], row["by"], row["why"]) for row in rows][-1] == (
        *("route", "ann"),
        "as it was",
    )
    assert cli("move", "status").out == "no moves\n"
    assert "python owns it, no move runs" in cli("move", "status", "counter").out


def test_differences_are_accepted_with_a_name_a_reason_and_an_end(cli: Cli) -> None:
    accepted = cli(
        *("diff", "accept", "counter", "/reply/total", "value", "--owner", "ann"),
        *("--reason", "rounding", "--days", "2", "--json"),
    ).json
    assert accepted["until_ms"] - accepted["at_ms"] == 2 * 86_400_000
    assert cli("diff", "accepted", "counter", "--json").rows == [accepted]
    assert cli("diff", "forget", "counter", accepted["id"]).code == 0
    assert cli("diff", "accepted", "counter", "--json").rows == []


def test_a_message_is_explained_from_the_journal(cli: Cli) -> None:
    cli("call", "counter:explained", "add", '{"n": 3}', "--id", "explain-me")
    found = cli("explain", "explain-me", "--json").json
    [entry] = cli("journal", "list", "counter", "--key", "explained", "--json").rows
    for name in ("position", "runtime", "reason", "epoch", "seq", "build", "at_ms", "key"):
        assert found[name] == entry[name], name
    assert found["why"] == "it owns the subsystem"


def test_may_it_be_cut_over(cli: Cli) -> None:
    found = cli("can-i-cutover", "counter", "--to", "elixir", "--json")
    assert (found.code, found.json["answer"]) == (1, "no")
    assert found.json["findings"][0]["check"] == "contract"
    here = cli("can-i-cutover", "counter", "--to", "python", "--json")
    answers = {each["check"]: each["answer"] for each in here.json["findings"]}
    assert answers == dict.fromkeys(
        ("contract", "scenarios", "states", "shadow", "fallback"), "yes"
    )
    assert (here.code, here.json["answer"]) == (0, "yes")


def folders(implementations: Path) -> list[str]:
    return ["--contracts", str(SUBSYSTEMS), "--implementations", str(implementations)]


def test_committed_commands_are_computed_again_by_any_build(cli: Cli, tmp_path: Path) -> None:
    for n in (1, 13, 2):
        cli("call", "counter:again", "add", f'{{"n": {n}}}')
    again = ["journal", "replay", "counter", "--runtime", "python", "--key", "again"]
    same = cli(*again, *folders(SUBSYSTEMS / "implementations.json"))
    assert (same.code, same.out) == (
        0,
        "3 commands of counter through python: 3 as they were, 0 otherwise\n",
    )
    (tmp_path / "wrong.py").write_text(
        "from tests.subsystems.counter.counter import handle as right\n"
        "def handle(state, operation, request, context):\n"
        "    reply, effects, after = right(state, operation, request, context)\n"
        "    off = int(request.get('n') == 13)\n"
        "    return {'total': reply['total'] + off}, effects, after\n"
    )
    wrong = tmp_path / "implementations.json"
    wrong.write_text(json.dumps({"counter": {"python": "./wrong.py"}}))
    found = cli(*again, *folders(wrong), "--json")
    assert found.code == 1
    assert [(row["pointer"], row["kind"], row["messages"]) for row in found.rows] == [
        ("/reply/total", "value", 1)
    ]
    assert (found.rows[0]["recorded"], found.rows[0]["replayed"]) == ("14", "15")
    part = cli(*again, *folders(wrong), "--limit", "1")
    assert (part.code, part.out.split()[0]) == (0, "1")


def test_a_scorecard_of_a_replay_has_a_column_for_each_runtime(cli: Cli) -> None:
    cli("call", "counter:card", "add", "{}")
    card = cli(
        *("scorecard", "counter", "--replay", "20", "--runtimes", "python", "--markdown"),
        *folders(SUBSYSTEMS / "implementations.json"),
    )
    assert card.code == 0, card.err
    lines = card.out.splitlines()
    assert lines[0] == "| counter: runtime | python |"
    assert {line.split("|")[1].strip() for line in lines[2:]} >= {
        *("commands", "as recorded", "p50 ms", "CPU µs a command", "memory MB"),
    }


def test_status_names_what_is_being_moved(cli: Cli) -> None:
    status = cli("status", "--json").rows
    assert [row for row in status if row["what"] == "move"] == []
    moved = {"subsystem": "counter", "candidate": "elixir", "phase": "canary", "share": 25}
    steady = {"subsystem": "other", "candidate": None, "phase": "steady", "share": 0}
    routes = [{"owner": "python", **route} for route in (moved, steady)]
    assert [each.found for each in moving(routes)] == ["counter: python -> elixir, canary 25 %"]
