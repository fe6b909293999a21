"""Which runtime finds the implementation of which subsystem where: a JSON file, read strictly.

`python -m bridge.contracts.implementations FILE [BUILDS]` says why a Python one cannot be
imported, as it is or as it was when the builds in that directory were kept.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from bridge.canonical import escape
from bridge.contracts import builds as kept
from bridge.contracts.builds import Build
from bridge.contracts.files import BUILT_IN_IMPLEMENTATIONS, read_json
from bridge.contracts.imports import Imports
from bridge.contracts.loading import require_shape
from bridge.errors import ContractBroken, text_of
from bridge.message import JSON, Context

FILE_NAME = "implementations.json"
# Python has one way of importing for the whole process, so this is the process's too.
_BUILDS = Imports()
Handler = Callable[[Any, str, Any, Context], tuple[JSON, list[dict[str, JSON]], JSON]]


def load(file: Path) -> dict[str, dict[str, str]]:
    """Return subsystem -> runtime -> where its implementation is, paths made absolute.

    Each is a file; a Python implementation may also be `package.module:function`, found from the
    file's folder too. Raises ContractBroken for a file that is not this, or names what isn't.
    """
    document = read_json(file)
    require_shape(file, document, "implementations.schema.json")
    loaded: dict[str, dict[str, str]] = {}
    for subsystem, entries in document.items():
        loaded[subsystem] = {}
        for runtime, where in entries.items():
            if runtime != "python" or _is_file(where):
                path = (file.parent / where).resolve()
                if not path.is_file():
                    raise ContractBroken(
                        str(file),
                        f"/{escape(subsystem)}/{runtime}",
                        "file",
                        f"expected a file at {path}, found none",
                    )
                where = str(path)
            loaded[subsystem][runtime] = where
    return loaded


def load_all(*files: Path) -> dict[str, dict[str, str]]:
    """Return the built-in implementations, with those of the files added or in their place."""
    return with_built_in(*(load(file) for file in files))


def with_built_in(*loaded: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """Return the built-in implementations, with what `load` returned added or in their place."""
    merged = load(BUILT_IN_IMPLEMENTATIONS)
    for mine in loaded:
        for subsystem, entries in mine.items():
            merged[subsystem] = {**merged.get(subsystem, {}), **entries}
    return merged


def require_contracts(files: Collection[Path], names: Collection[str]) -> None:
    """Refuse implementations of what has no contract: nobody would ever ask them."""
    for file in files:
        for subsystem in load(file):
            if subsystem not in names:
                known = ", ".join(sorted(names))
                raise ContractBroken(
                    str(file),
                    f"/{escape(subsystem)}",
                    "contract",
                    f"there is no contract of that name, expected one of {known}: the folder "
                    f"that has {subsystem}/subsystem.json is missing",
                )


def python_handlers(
    implementations: Mapping[str, Mapping[str, str]],
    *folders: Path,
    builds: Mapping[str, Build] | None = None,
) -> dict[str, Handler]:
    """Import the Python implementations; `folders` are looked through after the path.

    Those of `builds` are imported as they were then. Raises ContractBroken naming the subsystem
    whose module or function cannot be had.
    """
    for folder in folders:
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
    return {
        subsystem: python_handler(subsystem, entries["python"], (builds or {}).get(subsystem))
        for subsystem, entries in implementations.items()
        if "python" in entries
    }


def python_handler(subsystem: str, where: str, build: Build | None = None) -> Handler:
    """Import one Python implementation, anew if `build` is given. Raises ContractBroken."""
    module, function = (where, "handle") if _is_file(where) else where.split(":")
    if build is not None:
        _BUILDS.take(build)
    try:
        found = getattr(_imported(subsystem, module), function, None)
    except Exception as error:  # whatever a user's module does when it is imported
        text = text_of(error)
        if isinstance(error, ModuleNotFoundError):
            text += f"; it must be on PYTHONPATH, or `{sys.executable} -m pip install` it"
        raise _broken(subsystem, where, text) from error
    if not callable(found):
        raise _broken(subsystem, where, f"{module} has no function {function}")
    return cast(Handler, found)


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
    file = Path(sys.argv[1])
    try:
        builds = kept.read(Path(sys.argv[2]), "python") if len(sys.argv) > 2 else None
        python_handlers(load(file), file.resolve().parent, builds=builds)
    except ContractBroken as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
