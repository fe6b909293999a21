"""`bridge can-i-cutover`: may a runtime take a subsystem over."""

from __future__ import annotations

from urllib.parse import quote

from bridge.cli.command import Call, CommandFailed, Commands, add_command, add_subsystem, say_json
from bridge.client import ErrorReply
from bridge.message import RUNTIMES
from bridge.up.admin import ask

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
