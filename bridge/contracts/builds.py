"""Implementations as they were when the bridge started: their sources, and a digest of each.

`bridge up` keeps them in a directory, `<runtime>/<subsystem>.json`, so that a worker, node or
service that is started again runs what the others run, whatever became of the files. The
TypeScript service writes its own there.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path

from bridge.contracts.files import readable

SHOWN = 12  # hex digits of a digest that tell builds of one subsystem apart
MAX_SOURCES = 1000
# Never imported twice: a handler's Refusal must be the worker's.
BRIDGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Build:
    """An implementation at one time.

    `sources` has the SHA-256 of the file and of what it imports from its own folder, by path;
    `texts` what they held, where they are started from that.
    """

    digest: str
    sources: Mapping[str, str]
    texts: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, texts: Mapping[str, str]) -> Build:
        sources = {path: _sha256(text) for path, text in sorted(texts.items())}
        whole = "\n".join(f"{Path(path).name} {sha256}" for path, sha256 in sources.items())
        return cls(_sha256(whole)[:SHOWN], sources, texts)

    def changed(self) -> list[str]:
        """Return the files that are no longer what they were."""
        return [path for path, sha256 in self.sources.items() if _now(path) != sha256]


def write(folder: Path, runtime: str, subsystem: str, build: Build) -> None:
    """Keep a build, in one step: a reader sees all of it or the one before."""
    path = folder / runtime / f"{subsystem}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(build)))
    fresh.replace(path)
    if runtime == "elixir":  # whose node has no JSON parser
        (text,) = build.texts.values()
        path.with_suffix(".ex").write_bytes(text.encode("latin-1"))


def read(folder: Path, runtime: str) -> dict[str, Build]:
    """Return the builds of a runtime by subsystem; none where none were kept."""
    names = [path.stem for path in sorted((folder / runtime).glob("*.json"))]
    found = {name: read_one(folder, runtime, name) for name in names}
    return {name: build for name, build in found.items() if build is not None}


def read_one(folder: Path, runtime: str, subsystem: str) -> Build | None:
    """Return the build of one implementation, None if there is none."""
    try:
        return Build(**json.loads((folder / runtime / f"{subsystem}.json").read_text()))
    except FileNotFoundError:
        return None


def one_file(where: str) -> Build:
    """Return the build of an implementation that is one file."""
    return Build.of({where: _read(Path(where))})


def python_sources(where: str, folder: Path) -> Build:
    """Return the build of a Python implementation, a file or `package.module:function`.

    Imports are followed as far as they lead into its own folder, also those inside functions:
    beside the file, or `folder` for a module that is in there. What is installed is one file.
    """
    if where.endswith(".py"):
        entry = Path(where)
        root = entry.parent
    else:
        entry = Path(_origin(where.split(":")[0], folder))
        root = folder if entry.is_relative_to(folder) else entry
    texts: dict[str, str] = {}
    waiting = [entry]
    while waiting and len(texts) < MAX_SOURCES:
        path = waiting.pop()
        if str(path) not in texts and readable(path):
            text = texts[str(path)] = _read(path)
            waiting += [p for p in _imports(path, text, root) if _is_own(p, root)]
    return Build.of(texts)


def _is_own(path: Path, root: Path) -> bool:
    return path.is_relative_to(root) and not path.is_relative_to(BRIDGE)


def _origin(module: str, folder: Path) -> str:
    """Return the file of a module without importing anything, "" if there is none."""
    name, origin = "", ""
    path: Sequence[str] | None = [*sys.path, str(folder)]
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        spec = PathFinder.find_spec(name, path) if path else None
        if spec is None:
            return ""
        origin, path = spec.origin or "", spec.submodule_search_locations
    return origin


def _imports(path: Path, text: str, root: Path) -> Iterator[Path]:
    """Yield the files that an import of this file's may mean."""
    try:
        tree = ast.parse(text.encode("latin-1"))
    except (SyntaxError, ValueError, RecursionError):
        return  # whoever imports it says so
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            folder = root
        elif isinstance(node, ast.ImportFrom):
            module = node.module.split(".") if node.module else []
            names = [module, *([*module, alias.name] for alias in node.names)]
            folder = path.parents[node.level - 1] if node.level else root
        else:
            continue
        for name in filter(None, names):
            yield folder.joinpath(*name[:-1], f"{name[-1]}.py")
            yield folder.joinpath(*name, "__init__.py")


def _read(path: Path) -> str:
    """Return a file's bytes as the characters of the same numbers: JSON carries any of them."""
    return path.read_bytes().decode("latin-1")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("latin-1")).hexdigest()


def _now(path: str) -> str:
    try:
        return _sha256(_read(Path(path)))
    except OSError:
        return ""
