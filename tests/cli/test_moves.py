"""`bridge move` and what goes with it, where only Python runs."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Cli


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
