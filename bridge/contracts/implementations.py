"""Which runtime finds the implementation of which subsystem where: a JSON file, read strictly.

`python -m bridge.contracts.implementations FILE BUILDS [SUBSYSTEM]` says why a Python one cannot
be imported, as it was when the builds in that directory were kept; of one subsystem, or of all.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from bridge.canonical import escape
from bridge.contracts import builds as kept
from bridge.contracts.builds import Build
from bridge.contracts.files import BUILT_IN_IMPLEMENTATIONS, closed, read_json, readable
from bridge.contracts.imports import Imports
from bridge.contracts.loading import require_shape
from bridge.errors import ContractBroken, text_of
from bridge.message import JSON, RUNTIMES, Context, RuntimeName
from bridge.settings import Settings

FILE_NAME = "implementations.json"
_ODD: Mapping[str, Callable[[Any], bool]] = {
    "async": inspect.iscoroutinefunction,
    "a generator": inspect.isgeneratorfunction,
    "an async generator": inspect.isasyncgenfunction,
}
# Python has one way of importing for the whole process, so this is the process's too.
_BUILDS = Imports()
LeftOut = list[ContractBroken]  # what of the user's could not be loaded, each named
Handler = Callable[[Any, str, Any, Context], tuple[JSON, list[dict[str, JSON]], JSON]]
Migrate = Callable[[Any, int, Context], JSON]


@dataclass(frozen=True, slots=True)
class WithMigration:
    """A handler of a module that has `migrate` too."""

    handle: Handler
    migrate: Migrate

    def __call__(
        self, state: JSON, operation: str, request: JSON, context: Context
    ) -> tuple[JSON, list[dict[str, JSON]], JSON]:
        return self.handle(state, operation, request, context)


def load(file: Path, left_out: LeftOut | None = None) -> dict[str, dict[str, str]]:
    """Return subsystem -> runtime -> where its implementation is, paths made absolute.

    Each is a file; a Python implementation may also be `package.module:function`, found from the
    file's folder too. Raises ContractBroken for a file that is not this, or names what isn't;
    the latter is put into `left_out`, if given, and the others are returned. What was left out
    with its own contract is not told of again.
    """
    document = read_json(file)
    require_shape(file, document, "implementations.schema.json")
    told = {Path(fault.file).parent.name for fault in left_out or ()}
    loaded: dict[str, dict[str, str]] = {}
    for subsystem, entries in document.items():
        if subsystem in told:
            continue
        loaded[subsystem] = {}
        for runtime, where in entries.items():
            if runtime == "activities":  # contracts/activities.py
                continue
            path = (file.parent / where).resolve()
            if runtime == "python" and not _is_file(where):
                loaded[subsystem][runtime] = where
            elif readable(path):
                loaded[subsystem][runtime] = str(path)
            else:
                at, shut = f"/{escape(subsystem)}/{runtime}", closed(path.parent)
                got = "one that may not be read" if os.path.isfile(path) else "none"
                what = (
                    f"{path.parent}: {shut}" if shut else f"expected a file at {path}, got {got}"
                )
                _leave_out(ContractBroken(str(file), at, "file", what), left_out)
    return loaded


def _leave_out(fault: ContractBroken, left_out: LeftOut | None) -> None:
    if left_out is None:
        raise fault
    left_out.append(fault)


def load_all(*files: Path) -> dict[str, dict[str, str]]:
    """Return the built-in implementations, with those of the files added or in their place."""
    return _merged(*(load(file) for file in files))


def of_settings(
    settings: Settings, names: Collection[str], left_out: LeftOut | None = None
) -> dict[str, dict[str, str]]:
    """Return where the implementations of these subsystems are, ours and the settings' own.

    Under `bridge up` as the file said when the builds were kept. Raises ContractBroken, or
    leaves out, as `with_contracts` does.
    """
    if not settings.implementations:
        return _merged()
    if settings.builds:
        return _merged(json.loads(Path(settings.builds, FILE_NAME).read_text()))
    return _merged(with_contracts(Path(settings.implementations), names, left_out))


def implementers(
    settings: Settings, names: Collection[str], left_out: LeftOut
) -> dict[str, list[RuntimeName]]:
    """Return the runtimes that have an implementation of each subsystem, by its name.

    The built-in ones are in all of them; what was left out is in none.
    """
    built_in, mine = load(BUILT_IN_IMPLEMENTATIONS), of_settings(settings, names, [])
    broken = {fault.pointer for fault in left_out}
    return {
        name: [
            runtime
            for runtime in RUNTIMES
            if (name in built_in or runtime in mine.get(name, {}))
            and f"/{name}/{runtime}" not in broken
        ]
        for name in names
    }


def _merged(*loaded: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    merged = load(BUILT_IN_IMPLEMENTATIONS)
    for mine in loaded:
        for subsystem, entries in mine.items():
            merged[subsystem] = {**merged.get(subsystem, {}), **entries}
    return merged


def with_contracts(
    file: Path, names: Collection[str], left_out: LeftOut | None = None
) -> dict[str, dict[str, str]]:
    """Return what `load` does of the subsystems in `names`.

    What has no contract is refused, or left out: nobody would ever ask for it.
    """
    loaded = load(file, left_out)
    known = ", ".join(sorted(names))
    for subsystem in [name for name in loaded if name not in names]:
        del loaded[subsystem]
        what = (
            f"there is no contract of that name, expected one of {known}: the folder "
            f"that has {subsystem}/subsystem.json is missing"
        )
        fault = ContractBroken(str(file), f"/{escape(subsystem)}", "contract", what)
        _leave_out(fault, left_out)
    return loaded


def folder_of(settings: Settings) -> tuple[Path, ...]:
    """Return the folder beside which modules of the settings' implementations are looked for."""
    file = settings.implementations
    return (Path(file).resolve().parent,) if file else ()


def python_handlers(
    implementations: Mapping[str, Mapping[str, str]],
    *folders: Path,
    builds: Mapping[str, Build] | None = None,
    left_out: LeftOut | None = None,
) -> dict[str, Handler]:
    """Import the Python implementations; `folders` are looked through after the path.

    Those of `builds` are imported as they were then. Raises ContractBroken naming the subsystem
    whose module or function cannot be had, or puts it into `left_out`, if given.
    """
    for folder in folders:
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
    handlers: dict[str, Handler] = {}
    for subsystem, entries in implementations.items():
        if "python" in entries:
            build = (builds or {}).get(subsystem)
            try:
                handlers[subsystem] = python_handler(subsystem, entries["python"], build)
            except ContractBroken as fault:
                _leave_out(fault, left_out)
    return handlers


def python_handler(subsystem: str, where: str, build: Build | None = None) -> Handler:
    """Import one Python implementation, anew if `build` is given. Raises ContractBroken."""
    module, function = (where, "handle") if _is_file(where) else where.split(":")
    if build is not None:
        _BUILDS.take(build)
    try:
        imported = _imported(subsystem, module)
        found, migrate = getattr(imported, function, None), getattr(imported, "migrate", None)
    except (Exception, SystemExit) as error:  # whatever a user's module does when imported
        text = text_of(error)
        if isinstance(error, ModuleNotFoundError):
            text += f"; it must be on PYTHONPATH, or `{sys.executable} -m pip install` it"
        raise _broken(subsystem, where, text) from error
    if not callable(found):
        raise _broken(subsystem, where, f"{module} has no function {function}")
    for kind, is_such in _ODD.items():
        if is_such(found):  # it would run on after its answer
            text = (
                f"expected a plain function, {function} is {kind}: a handler is"
                f" `def {function}(state, operation, request, context)` and returns"
                " (reply, effects, state); waiting for others is for effects"
            )
            raise _broken(subsystem, where, text)
    handler = cast(Handler, found)
    return WithMigration(handler, migrate) if callable(migrate) else handler


def _is_file(where: str) -> bool:
    return where.endswith(".py")


def _imported(subsystem: str, module: str) -> ModuleType:
    """Import a module, or a file.

    A file is a package of its own: it may be called queue.py, and `from .rules import limit`
    finds what is beside it.
    """
    if not _is_file(module):
        return importlib.import_module(module)
    name, beside = f"subsystem_{subsystem}", [str(Path(module).parent)]
    spec = _BUILDS.spec(name, module, beside) or importlib.util.spec_from_file_location(
        name, module, submodule_search_locations=beside
    )
    assert spec is not None
    assert spec.loader is not None
    loaded = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def _broken(subsystem: str, where: str, what: str) -> ContractBroken:
    return ContractBroken(where, f"/{escape(subsystem)}/python", "import", what)


def main() -> int:
    """Import what a file names, as a worker would."""
    file, folder, *only = sys.argv[1:]
    found = load(Path(file), [])
    wanted = {name: found[name] for name in only or found}
    try:
        builds = kept.read(Path(folder), "python")
        python_handlers(wanted, Path(file).resolve().parent, builds=builds)
    except ContractBroken as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
