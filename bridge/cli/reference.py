"""Write docs/cli.md and docs/settings.md, or say where they drifted.

python -m bridge.cli.reference [--check]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from bridge.cli.command import JSON_HELP
from bridge.cli.main import parser
from bridge.contracts.files import ROOT
from bridge.settings import PREFIX, Settings

GENERATED = "<!-- Written by `make generate`; change the source instead. -->"


def main(arguments: list[str] | None = None) -> int:
    """Write the files; with --check write nothing, exit 1 if one would change."""
    options = argparse.ArgumentParser(prog="python -m bridge.cli.reference")
    options.add_argument("--check", action="store_true")
    check = options.parse_args(arguments).check
    drifted = [path for path, text in pages().items() if not _holds(path, text)]
    for path in drifted:
        if check:
            print(f"{path.relative_to(ROOT)} drifted: run `make generate`", file=sys.stderr)
        else:
            path.write_text(pages()[path], encoding="utf-8")
            print(path.relative_to(ROOT))
    return int(check and bool(drifted))


def pages() -> dict[Path, str]:
    """Return the text of every generated page."""
    return {
        ROOT / "docs" / "cli.md": "\n".join(commands()) + "\n",
        ROOT / "docs" / "settings.md": "\n".join(settings()) + "\n",
    }


def settings() -> Iterator[str]:
    """Yield the lines of the settings' reference."""
    yield from ("# Settings", "", GENERATED, "")
    yield "Environment variables, read once at the start. A value that does not parse stops the"
    yield "start, as does a name beginning with `BRIDGE_` that is no setting. `bridge settings`"
    yield "shows the values in force."
    yield from ("", "| variable | default | meaning |", "|---|---|---|")
    for field in fields(Settings):
        default = f"`{_plain(field.default)}`" if field.default != "" else ""
        choices = field.metadata["choices"]
        meaning = field.metadata["help"] + (f" ({', '.join(choices)})" if choices else "")
        yield f"| `{PREFIX}{field.name.upper()}` | {default} | {_cell(meaning)} |"


def commands() -> Iterator[str]:
    """Yield the lines of the command line's reference."""
    whole = parser()
    yield from ("# Commands", "", GENERATED, "")
    yield "`bridge` and `python -m bridge` are the same. Exit code 0: done. 1: it could not be"
    yield "done, or the reply is an error; one line on standard error says why, and what to do."
    yield "2: asked wrongly. With `--json` a command prints one JSON object per line instead of a"
    yield "table. `call` prints the reply on standard output, an error reply"
    yield "`{code, message, retryable, detail}` too. The bridge is found through"
    yield "`<BRIDGE_DIR>/run.json`, unless `--url` or `BRIDGE_REDIS_URL` names another."
    yield from _commands(whole)


def _commands(above: argparse.ArgumentParser) -> Iterator[str]:
    for action in above._actions:
        if not isinstance(action, argparse._SubParsersAction):
            continue
        for below in action.choices.values():
            yield from ("", f"## `{_usage(below)}`", "", _sentence(below.description or ""))
            told = [a for a in _arguments(below) if a.help and a.help != JSON_HELP]
            if told:
                yield ""
            for argument in told:
                yield f"- `{_name(argument)}`: {_cell(argument.help or '')}"
            yield from _commands(below)


def _usage(command: argparse.ArgumentParser) -> str:
    parts = [command.prog]
    for argument in _arguments(command):
        name = _name(argument)
        optional = bool(argument.option_strings) or argument.nargs in ("?", "*")
        many = " ..." if argument.nargs in ("*", "+") else ""
        parts.append(f"[{name}{many}]" if optional else name + many)
    return " ".join(parts)


def _arguments(command: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in command._actions:
        if not isinstance(action, argparse._HelpAction | argparse._SubParsersAction):
            yield action


def _name(argument: argparse.Action) -> str:
    value = argument.metavar if isinstance(argument.metavar, str) else argument.dest.upper()
    if not argument.option_strings:
        return value
    option = argument.option_strings[-1]
    return option if argument.nargs == 0 else f"{option} {value}"


def _plain(value: object) -> object:
    return int(value) if isinstance(value, bool) else value


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _holds(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
