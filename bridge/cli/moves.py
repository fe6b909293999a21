"""`bridge move`: a subsystem goes to another runtime, on evidence."""

from __future__ import annotations

import sys
import time
from typing import Any
from urllib.parse import quote

from bridge.cli.command import (
    Call,
    CommandFailed,
    Commands,
    UsageError,
    add_command,
    add_who,
    say_json,
    who,
)
from bridge.cli.diff import differences
from bridge.cli.reload import ask
from bridge.cli.routes import GATEWAY
from bridge.client import ErrorReply
from bridge.message import JSON, RUNTIMES
from bridge.table import table
from bridge.up.admin import fetch, put

EVENTS = ("promote", "hold", "resume", "rollback", "abort")
LOOKS = ("status", "history")
WATCH_S = 1.0
GATEWAY_SHARES = (10, 50, 100)
GATEWAY_PAUSE_S = 2.0


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "move",
        "move a subsystem to another runtime: a shadow first, then a share at a time, and back",
        _move,
    )
    parser.add_argument(
        "words",
        nargs="+",
        metavar="WORD",
        help="SUBSYSTEM with --to, or gateway, the edge that clients connect to; "
        "or status [SUBSYSTEM], or one of history, "
        f"{', '.join(EVENTS)} and SUBSYSTEM",
    )
    parser.add_argument("--to", choices=RUNTIMES, metavar="RUNTIME", help=", ".join(RUNTIMES))
    parser.add_argument(
        "--plan", default="", help="default shadow:500,canary:5,25,50,100: comparisons, shares"
    )
    parser.add_argument("--auto", action="store_true", help="promote by itself at each pass")
    parser.add_argument(
        "--samples",
        type=int,
        default=0,
        help="answers of the candidate in each share, default 50",
    )
    parser.add_argument(
        "--tolerate",
        type=float,
        default=0.0,
        metavar="PERCENT",
        help="that may differ, default 0",
    )
    parser.add_argument(
        "--below",
        type=float,
        default=0.0,
        metavar="PERCENT",
        help="rate of differences to be ruled out, default: what the samples can show",
    )
    parser.add_argument(
        "--slower-ms", type=float, default=0.0, help="what a candidate may take more, default 50"
    )
    parser.add_argument(
        "--anyway", action="store_true", help="promote although the evidence does not say so"
    )
    parser.add_argument("--watch", action="store_true", help="status again each second")
    add_who(parser)


def _move(call: Call) -> int:
    word, *rest = call.args.words
    if word in LOOKS and len(rest) <= 1 and (rest or word == "status"):
        return _status(call, rest) if word == "status" else _history(call, rest[0])
    if word in EVENTS and len(rest) == 1:
        return _ordered(call, rest[0], {"event": word, "anyway": call.args.anyway})
    if rest or word in EVENTS + LOOKS:
        raise UsageError(f"expected SUBSYSTEM --to RUNTIME, or one of {_usage()}")
    if word == GATEWAY and call.args.to is not None:
        return _move_gateway(call)
    if call.args.to is None:
        raise UsageError(f"move {word} where? --to RUNTIME; or one of {_usage()}")
    args = call.args
    return _ordered(
        call,
        word,
        {
            "event": "start",
            "to": args.to,
            "plan": args.plan,
            "auto": args.auto,
            "samples": args.samples,
            "tolerated": args.tolerate / 100,
            "below": args.below / 100,
            "slower_ms": args.slower_ms,
        },
    )


def _move_gateway(call: Call) -> int:
    """Give the other edge a part of new connections, then all, then the clients there are."""
    for share in GATEWAY_SHARES:
        ask(call, GATEWAY, f"{call.args.to} {share}")
        if share < 100:
            time.sleep(GATEWAY_PAUSE_S)
    return 0


def _usage() -> str:
    return ", ".join(f"{event} SUBSYSTEM" for event in ("status", "history", *EVENTS))


def _ordered(call: Call, subsystem: str, order: dict[str, JSON]) -> int:
    try:
        url = f"{call.run_file().url}/admin/moves/{quote(subsystem)}"
        status = put(url, call.settings.token, {**order, **who(call)})
    except ErrorReply as refused:
        raise CommandFailed(refused.response["message"]) from None
    if call.args.json:
        say_json(status)
        return 0
    print(_head(status))
    if order["event"] == "start":
        print(_plan(status))
    return 0


def _status(call: Call, rest: list[str]) -> int:
    url = f"{call.run_file().url}/admin/moves" + (f"/{quote(rest[0])}" if rest else "")
    while True:
        found = fetch(url, call.settings.token)
        _show(call, found if isinstance(found, list) else [found])
        if not call.args.watch:
            return 0
        time.sleep(WATCH_S)


def _show(call: Call, statuses: list[dict[str, Any]]) -> None:
    if call.args.json:
        for status in statuses:
            say_json(status)
        return
    if call.args.watch and sys.stdout.isatty():
        print("\033[H\033[2J", end="")
    print("\n\n".join(map(_page, statuses)) if statuses else "no moves", flush=True)


def _page(status: dict[str, Any]) -> str:
    if status["move"] is None:
        return f"{status['subsystem']}: {status['owner']} owns it, no move runs"
    evidence, latency = status["evidence"], status["latency_ms"]
    lines = [_head(status)]
    told = [f"{evidence['compared']} compared, {evidence['different']} differ"]
    told += [f"{evidence['accepted']} of them accepted"] if evidence["accepted"] else []
    told += [f"at most {evidence['at_most']:.2%} can" if not evidence["different"] else ""]
    told += [f"{evidence['asked']} asked, {evidence['stood_in']} stood in"] * bool(
        evidence["asked"]
    )
    told += [f"{evidence[n]} {n.replace('_', ' ')}" for n in _ODD if evidence[n]]
    lines.append(f"  {', '.join(filter(None, told))}")
    rows = [
        [
            side,
            latency[side]["runtime"],
            *(_ms(latency[side][what], p) for what in ("took", "whole") for p in ("p50", "p99")),
            latency[side]["took"]["n"],
        ]
        for side in ("owner", "candidate")
    ]
    lines.append(table(["", "runtime", "p50", "p99", "whole p50", "whole p99", "answers"], rows))
    lines.append(_plan(status))
    if status["differences"]:
        lines.append(differences(status["differences"]))
    return "\n".join(lines)


_ODD = ("timed_out", "missed", "dropped", "violations", "losses", "owner_faults", "restarts")


def _head(status: dict[str, Any]) -> str:
    move, verdict = status["move"], status["verdict"]
    auto = ", by itself" if move["auto"] and status["phase"] in ("shadow", "canary") else ""
    why = f" ({move['by']}: {move['why']})" if move["why"] else f" ({move['by']})"
    line = (
        f"{status['subsystem']}: {move['source']} -> {move['target']}, {status['stage']}{auto}, "
        f"{status['owner']} owns it, epoch {status['epoch']}{why}"
    )
    if status["phase"] not in ("shadow", "canary"):
        return line
    return f"{line}\n  {verdict['outcome']}: {'; '.join(verdict['reasons'])}"


def _plan(status: dict[str, Any]) -> str:
    rows = [
        [
            "->" if step["now"] else "",
            step["step"],
            f"{step['samples']} {'comparisons' if step['step'] == 'shadow' else 'answers'}",
            _duration(step["expected_s"]),
        ]
        for step in status["plan"]
    ]
    title = f"at {status['per_second']:g} commands a second"
    return table(["", "step", "needs", title], rows)


def _duration(seconds: int | None) -> str:
    if seconds is None:
        return "no traffic: for ever"
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds} s"


def _ms(latency: dict[str, Any], percentile: str) -> str:
    return f"{latency[percentile]:g} ms" if latency["n"] else "-"


def _history(call: Call, subsystem: str) -> int:
    found = fetch(
        f"{call.run_file().url}/admin/moves/{quote(subsystem)}/history", call.settings.token
    )
    rows = [{**entry, "stage": entry.get("stage", entry["phase"])} for entry in found]
    columns = {"epoch": "epoch", "at_ms": "when", "event": "what", "stage": "then", "to": "to"}
    call.show({**columns, "by": "who", "why": "why"}, rows)
    return 0
