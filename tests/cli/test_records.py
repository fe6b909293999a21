"""What is read from Redis: routes, journal, outbox, timers, dead letters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bridge.cli.effects import why_held
from bridge.contracts.files import BUILT_IN
from bridge.contracts.registry import Registry
from bridge.journal.values import TargetState
from tests.cli.conftest import Cli
from tests.running import ALONE, SUBSYSTEMS, Up, bridge

NAMES = Registry.load(BUILT_IN, SUBSYSTEMS).names()


def test_routes_tell_the_owner_and_route_changes_it(cli: Cli) -> None:
    assert cli("routes", "heartbeat", "--json").json["owner"] == "python"
    done = cli("route", "heartbeat", "elixir")
    assert done.code == 0
    assert done.err == (
        "bridge: elixir cannot be reached for heartbeat now: python answers until it can\n"
    )
    changed = cli("routes", "heartbeat", "--json").json
    assert (changed["owner"], changed["fallback"], changed["epoch"]) == ("elixir", "python", 2)
    assert cli("route", "heartbeat", "python").err == ""
    log = cli("routes", "heartbeat", "--log", "--json").rows
    assert [(route["epoch"], route["owner"]) for route in log] == [
        (1, "python"),
        (2, "elixir"),
        (3, "python"),
    ]


def test_routes_is_a_table_for_people(cli: Cli) -> None:
    lines = cli("routes").out.splitlines()
    assert lines[0].split() == ["subsystem", "owner", "fallback", "epoch", "since"]
    assert [line.split()[0] for line in lines[1:]] == NAMES


def test_routes_mark_a_subsystem_whose_contract_is_not_loaded(tmp_path: Path) -> None:
    folders = ("--contracts", str(SUBSYSTEMS))
    implementations = ("--implementations", str(SUBSYSTEMS / "implementations.json"))
    with Up(tmp_path, *folders, *implementations, **ALONE) as up:
        assert "contract" not in bridge(tmp_path, "routes").stdout
        assert up.end() == 0
    with Up(tmp_path, **ALONE):
        lines = bridge(tmp_path, "routes").stdout.splitlines()
        marked = {line.split()[0] for line in lines[1:] if line.endswith("  not loaded")}
        assert marked == set(NAMES) - set(Registry.load(BUILT_IN).names())
        assert '"contract":"not loaded"' in bridge(tmp_path, "routes", "echo", "--json").stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("nothing", "python"), 1), (("counter", "java"), 2), (("counter",), 2)],
)
def test_a_route_that_cannot_be_is_refused(
    cli: Cli, arguments: tuple[str, ...], code: int
) -> None:
    done = cli("route", *arguments)
    assert (done.code, done.out) == (code, "")


def test_a_runtime_without_an_implementation_can_own_nothing(cli: Cli) -> None:
    done = cli("route", "echo", "typescript")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "bridge: typescript has no implementation of echo, expected one of python\n"
    )
    assert cli("routes", "echo", "--json").json["epoch"] == 1


def test_an_unknown_subsystem_names_the_known_ones(cli: Cli) -> None:
    done = cli("outbox", "nothing")
    assert done.err == f"bridge: no subsystem 'nothing', there are: {', '.join(NAMES)}\n"
    assert done.code == 1


def test_the_journal_lists_and_shows_what_was_committed(cli: Cli) -> None:
    cli("call", "counter:j", "add", '{"n": 5, "tag": "t"}', "--id", "journal-1")
    (row,) = cli("journal", "list", "counter", "--key", "j", "--json").rows
    assert (row["id"], row["seq"], row["runtime"], row["reason"]) == (
        "journal-1",
        1,
        "python",
        "owner",
    )
    shown = cli("journal", "show", "counter", row["position"]).json
    assert shown["state"] == {"total": 5, "log": ["t"], "pad": ""}
    assert cli("journal", "show", "counter", "1-1").code == 1
    assert cli("journal", "show", "counter", "x").code == 1
    assert cli("journal").code == 0


def test_the_journal_is_exported_once_each_and_trimmed_behind_that(
    cli: Cli, tmp_path: Path
) -> None:
    for n in range(3):
        cli("call", "counter:export", "add", "--id", f"export-{n}")
    last = cli("journal", "list", "counter", "--json").rows[-1]["position"]
    refused = cli("journal", "trim", "counter", last)
    assert refused.code == 1
    assert "`bridge journal export` first" in refused.err

    assert cli("journal", "export", str(tmp_path), "counter").code == 0
    cli("call", "counter:export", "add", "--id", "export-3")
    (file,) = (tmp_path / "counter").iterdir()
    with open(file, "ab") as torn:
        torn.write(b'{"position":"9')  # as a killed export leaves it
    assert cli("journal", "export", str(tmp_path), "counter").out.startswith("counter: 1 entries")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    ids = [line["id"] for line in lines if line["key"] == "export"]
    assert ids == [f"export-{n}" for n in range(4)]

    assert cli("journal", "trim", "counter", last).code == 0
    assert cli("journal", "list", "counter", "--json").rows[0]["position"] == last


def test_verify_rebuilds_every_state(cli: Cli) -> None:
    for n in range(3):
        cli("call", "counter:verify", "add", f'{{"n": {n + 1}}}')
    done = cli("journal", "verify", "heartbeat", "--json")
    assert (done.code, done.json["wrong"]) == (0, {})
    assert cli("journal", "verify", "heartbeat").out.split()[-1] == "0"


def test_effects_nobody_can_execute_wait_in_the_outbox(cli: Cli) -> None:
    cli("call", "counter:box", "notify", '{"count": 2}', "--id", "box")
    rows = [row for row in cli("outbox", "counter", "--json").rows if row["key"] == "box"]
    assert [(row["id"], row["kind"], row["attempts"]) for row in rows] == [
        ("box/0", "inngest", 0),
        ("box/1", "inngest", 0),
    ]
    assert "token" not in rows[0]
    why = "bridge: inngest is held until `bridge up` is started with BRIDGE_INNGEST_URL\n"
    assert cli("outbox", "counter").err == why


def test_why_an_effect_is_held_is_said() -> None:
    away = TargetState(since_ms=1_795_380_404_972, attempts=3, error="refused", wait_ms=4000)
    assert why_held("system_event", TargetState()) == (
        "system_event is held until `bridge up` is started with BRIDGE_JOELCLAW_REDIS_URL"
    )
    assert why_held("inngest", away) == (
        "inngest: not reached since 2026-11-22 20:46:44.972, 3 attempts, the next in 4 s: refused"
    )


def test_timers_show_what_will_happen(cli: Cli) -> None:
    cli("call", "counter:timer", "later", '{"after_ms": 3600000, "n": 7}', "--id", "timer")
    (row,) = [row for row in cli("timers", "--json").rows if row["key"] == "timer"]
    assert (row["id"], row["operation"], row["request"]) == ("later", "add_later", {"n": 7})
    cli("call", "counter:timer", "forget")
    assert not [row for row in cli("timers", "--json").rows if row["key"] == "timer"]


def test_without_dead_letters_there_are_none(cli: Cli) -> None:
    assert cli("dead").out == "none\n"
    assert cli("dead", "list", "--json").out == ""
    assert cli("dead", "show", "counter", "x/0").code == 1
    done = cli("dead", "redrive", "counter", "x/0")
    assert (done.code, done.err) == (
        1,
        "bridge: no dead letter x/0: `bridge dead list` shows them\n",
    )
