"""`bridge new`: a subsystem to begin with, which lacks one line."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from bridge import __version__
from bridge.canonical import parse
from bridge.cli.command import Call, CommandFailed, Commands, UsageError, add_command
from bridge.contracts.files import BUILT_IN, CONTRACTS, META, read_json
from bridge.contracts.implementations import FILE_NAME, load
from bridge.contracts.registry import Registry
from bridge.message import RESERVED_NAMES, RUNTIMES, RuntimeName

# Complete: whatever is written lacks the line that refuses.
TEMPLATE = Path(__file__).parent / "template" / "tally"
TYPESCRIPT = CONTRACTS / "typescript"
SUFFIXES: dict[RuntimeName, str] = {"python": "py", "typescript": "ts", "elixir": "ex"}
# The line to write, and what stands there until it is: fails, and says what to write.
_REFUSES = re.compile(r'^( *)(.*(?:Refusal\(|:error, )"full".*)$', re.MULTILINE)
_UNTIL_THEN: dict[RuntimeName, str] = {
    "python": "raise NotImplementedError('yours to write: {line}')",
    "typescript": "throw new Error('yours to write: {line}');",
    "elixir": "raise ~S(yours to write: {line})",
}


def add(commands: Commands) -> None:
    parser = add_command(
        commands, "new", "write a subsystem of your own to begin with", _new, json=False
    )
    parser.add_argument("name", metavar="NAME", help="name of the subsystem")
    parser.add_argument(
        "--runtimes",
        metavar="LIST",
        default="python",
        help="of python, typescript and elixir, separated by commas; default: python",
    )
    parser.add_argument(
        "--into", metavar="DIR", default=".", help="folder to write into; default: here"
    )


def _new(call: Call) -> int:
    name, folder = call.args.name, Path(call.args.into)
    runtimes = _runtimes(call.args.runtimes)
    _check_name(name)
    written = dict(_files(name, runtimes))
    implementations = folder / FILE_NAME
    entry = {runtime: f"./{name}/{name}.{SUFFIXES[runtime]}" for runtime in runtimes}
    index = _with_entry(implementations, name, entry)
    own = folder / name
    if own.exists():
        there = ", ".join(sorted(p.name for p in own.iterdir())) if own.is_dir() else "a file"
        raise CommandFailed(f"{own} is there already ({there}): take another name or folder")
    try:
        own.mkdir(parents=True)
        for file, text in written.items():
            (own / file).write_text(text, encoding="utf-8")
        # Whole or not at all: there may be others' entries in it.
        beside = own / f"{FILE_NAME}.new"
        beside.write_text(index, encoding="utf-8")
        beside.replace(implementations)
    except OSError as error:
        raise CommandFailed(f"{error.filename}: {error.strerror}") from None
    for file in (*(own / file for file in written), implementations):
        print(f"wrote {file}")
    where = f"--contracts {shlex.quote(str(folder))} --implementations "
    print(_next(name, where + shlex.quote(str(implementations)), runtimes))
    return 0


def _next(name: str, where: str, runtimes: list[RuntimeName]) -> str:
    """Return the commands that come next."""
    text = (
        "\none line is yours to write, in each runtime; this says which:\n\n"
        f"    bridge contracts check {name} {where}\n\n"
        "then, in two terminals:\n\n"
        f"    bridge up {where}\n"
        f"    bridge call {name}:a add '{{\"n\": 2}}'"
    )
    if "typescript" in runtimes:
        packed = Path(f"joelclaw-bridge-{__version__}.tgz")  # what `make dist` builds
        package = TYPESCRIPT if TYPESCRIPT.is_dir() else packed
        text += "\n\ntypes for your editor and tsc:\n\n"
        text += f"    npm install --save-dev {shlex.quote(str(package))}"
    return text


def _runtimes(text: str) -> list[RuntimeName]:
    wanted = [name.strip() for name in text.split(",")]
    known = [runtime for runtime in RUNTIMES if runtime in wanted]
    if len(known) != len(wanted):
        raise UsageError(f"--runtimes: expected some of {', '.join(RUNTIMES)}, got {text!r}")
    return sorted(known, key=wanted.index)


def _check_name(name: str) -> None:
    """Refuse what a contract may not be called."""
    pattern = read_json(META / "subsystem.schema.json")["properties"]["name"]["pattern"]
    if not re.fullmatch(pattern.strip("^$"), name):
        raise UsageError(f"expected a name by the pattern {pattern}, got {name!r}")
    taken = [*Registry.load(BUILT_IN).names(), *RESERVED_NAMES]
    if name in taken:
        raise UsageError(f"{name} is the bridge's own, as are {', '.join(taken)}: take another")


def _files(name: str, runtimes: list[RuntimeName]) -> Iterator[tuple[str, str]]:
    """Yield the subsystem's files, each with its text."""
    contract = _template("subsystem.json", name)
    fallback = json.dumps(runtimes[1] if runtimes[1:] else None)
    contract = contract.replace('"owner": "python"', f'"owner": "{runtimes[0]}"')
    yield "subsystem.json", contract.replace('"fallback": null', f'"fallback": {fallback}')
    yield "scenarios.json", _template("scenarios.json", name)
    for runtime in runtimes:
        text = _template(f"tally.{SUFFIXES[runtime]}", name)
        line = _REFUSES.search(text)
        assert line is not None
        until = _UNTIL_THEN[runtime].format(line=line[2])
        yield f"{name}.{SUFFIXES[runtime]}", f"{text[: line.start(2)]}{until}{text[line.end() :]}"


def _template(file: str, name: str) -> str:
    text = (TEMPLATE / file).read_text(encoding="utf-8")
    module = "".join(word.capitalize() for word in re.split("[_-]", name))
    return re.sub(r"\btally\b", name, text).replace("Subsystem.Tally", f"Subsystem.{module}")


def _with_entry(file: Path, name: str, entry: dict[RuntimeName, str]) -> str:
    """Return the text of an implementations file with an entry more; the rest stays as it is."""
    added = f'  "{name}": {json.dumps(entry, indent=2)}'.replace("\n", "\n  ")
    if not file.exists():
        return f"{{\n{added}\n}}\n"
    if name in load(file):
        raise CommandFailed(f"{file} has {name} already: take another name or folder")
    text = file.read_text(encoding="utf-8")
    before, _, after = text.rpartition("}")
    before = before.rstrip()
    comma = "" if parse(text) == {} else ","
    return f"{before}{comma}\n{added}\n}}{after}"
