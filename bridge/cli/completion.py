"""`bridge completion SHELL`: what a shell needs to complete commands, written from the parser."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping

from bridge.cli.command import Call, Commands, add_command
from bridge.cli.main import parser

PROGRAMS = ("bridge", "joelclaw-bridge")
Words = Mapping[str, list[str]]  # " contracts check" -> what may come next


def add(commands: Commands) -> None:
    command = add_command(
        commands, "completion", "print what a shell needs to complete commands", _run, json=False
    )
    told = "bash, zsh or fish: `source <(bridge completion bash)`, fish: `... fish | source`"
    command.add_argument("shell", metavar="SHELL", choices=tuple(SHELLS), help=told)


def _run(call: Call) -> int:
    print(SHELLS[call.args.shell](dict(_words(parser()))), end="")
    return 0


def _words(command: argparse.ArgumentParser, at: str = "") -> Iterator[tuple[str, list[str]]]:
    """Yield what may come after each command: commands below, choices, options."""
    words: list[str] = []
    for action in command._actions:
        words += [option for option in action.option_strings if option.startswith("--")]
        if action.choices and not action.option_strings:
            words += map(str, action.choices)
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from _words(below, f"{at} {name}")
    yield at, sorted(words)


def _bash(words: Words) -> str:
    return f"""\
_bridge() {{
  local at="" words="" n
  for ((n = 1; n < COMP_CWORD; n++)); do
    case "$at ${{COMP_WORDS[n]}}" in
      {_known(words, "|")}) at="$at ${{COMP_WORDS[n]}}" ;;
    esac
  done
  case "$at" in
{_cases(words, "    {}) words={} ;;")}
  esac
  COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _bridge {" ".join(PROGRAMS)}
"""


def _zsh(words: Words) -> str:
    return f"""\
_bridge() {{
  local at="" said="" word
  for word in "${{(@)words[2,CURRENT-1]}}"; do
    case "$at $word" in
      ({_known(words, "|")}) at="$at $word" ;;
    esac
  done
  case "$at" in
{_cases(words, "    ({}) said={} ;;")}
  esac
  compadd -- ${{=said}} || _files
}}
(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit }}
compdef _bridge {" ".join(PROGRAMS)}
"""


def _fish(words: Words) -> str:
    programs = "\n".join(f"complete -c {name} -a '(__bridge_words)'" for name in PROGRAMS)
    return f"""\
function __bridge_words
  set -l at ""
  for word in (commandline -opc)[2..-1]
    switch "$at $word"
      case {_known(words, " ")}
        set at "$at $word"
    end
  end
  switch "$at"
{_cases(words, "    case {}; string split ' ' -- {}")}
  end
end
{programs}
"""


def _known(words: Words, between: str) -> str:
    return between.join(f"'{at}'" for at in words if at)


def _cases(words: Words, line: str) -> str:
    return "\n".join(line.format(f"'{at}'", f"'{' '.join(some)}'") for at, some in words.items())


SHELLS: Mapping[str, Callable[[Words], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
