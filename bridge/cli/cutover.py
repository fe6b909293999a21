"""`bridge can-i-cutover` and `bridge scorecard`: may it, and how do the two compare."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from bridge.cli.command import Call, CommandFailed, Commands, add_command, add_subsystem, say_json
from bridge.client import ErrorReply
from bridge.message import RUNTIMES
from bridge.table import table
from bridge.up.admin import ask, fetch

ANSWER_S = 60.0  # it runs scenarios and reads states
COLUMNS = {"check": "check", "answer": "", "what": "what was found", "way_out": "what gets it"}


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "can-i-cutover",
        "say whether a runtime may take a subsystem over, and what is missing; exit code 1 if "
        "the answer is not yes",
        _cutover,
    )
    add_subsystem(parser, required=True)
    parser.add_argument(
        "--to", required=True, choices=RUNTIMES, metavar="RUNTIME", help=", ".join(RUNTIMES)
    )
    parser = add_command(
        commands,
        "scorecard",
        "set owner and candidate of a move side by side",
        _scorecard,
    )
    add_subsystem(parser, required=True)
    parser.add_argument("--markdown", action="store_true", help="for a decision record")


def _cutover(call: Call) -> int:
    name, target = call.args.subsystem, call.args.to
    url = f"{call.run_file().url}/admin/moves/{quote(name)}/cutover/{target}"
    try:
        found = ask(url, call.settings.token, ANSWER_S)
    except ErrorReply as refused:
        raise CommandFailed(refused.response["message"]) from None
    if call.args.json:
        say_json(found)
    else:
        print(f"{name} to {target}: {found['answer']}")
        call.show(COLUMNS, found["findings"])
    return int(found["answer"] != "yes")


def _scorecard(call: Call) -> int:
    name = call.args.subsystem
    status = fetch(f"{call.run_file().url}/admin/moves/{quote(name)}", call.settings.token)
    if status["move"] is None:
        raise CommandFailed(f"nothing to compare: `bridge move {name} --to RUNTIME` gathers it")
    rows = _rows(status)
    if call.args.json:
        for n, side in enumerate(("owner", "candidate")):
            say_json({"side": side, **{name: values[n] for name, values in rows.items()}})
        return 0
    cells = [[name, *values] for name, values in rows.items()]
    headings = [f"{name}, {status['stage']}", "owner", "candidate"]
    print(_markdown(headings, cells) if call.args.markdown else table(headings, cells))
    return 0


def _rows(status: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return each figure of both sides, by name."""
    latency, evidence = status["latency_ms"], status["evidence"]
    sides = (latency["owner"], latency["candidate"])
    rows: dict[str, tuple[Any, Any]] = {"runtime": (sides[0]["runtime"], sides[1]["runtime"])}
    for what, text in (("took", "computing"), ("whole", "whole message")):
        rows[f"{text}: messages"] = (sides[0][what]["n"], sides[1][what]["n"])
        for p in ("p50", "p95", "p99"):
            first, second = (side[what][p] if side[what]["n"] else "" for side in sides)
            rows[f"{text}: {p} ms"] = (first, second)
    rows["faults"] = (evidence["owner_faults"], evidence["faults"])
    rows["contract violations"] = ("", evidence["violations"])
    rows["away"] = ("", evidence["losses"])
    rows["back after, ms"] = ("", evidence["recovery_ms"])
    rows["differ"] = ("", f"{evidence['different']} of {evidence['compared']}")
    rows["build"] = ("", evidence["build"][:12])
    return rows


def _markdown(headings: list[str], rows: list[list[Any]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
