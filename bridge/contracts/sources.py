"""Contracts as they are in a file, in a folder, or in a revision of git, released ones too."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bridge.canonical import parse
from bridge.contracts.files import read_json
from bridge.contracts.loading import FILE_NAME, contract_of
from bridge.contracts.registry import files_of
from bridge.contracts.released import FOLDER, released_files
from bridge.errors import BridgeError, ContractBroken


@dataclass(frozen=True, slots=True)
class Stand:
    """A subsystem's contract, and its released versions beside it; None: it has only these."""

    contract: Mapping[str, Any] | None
    released: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)


class NoSource(Exception):
    """There is nothing to read where contracts were said to be."""


def stands(where: str, at: Path = Path()) -> dict[str, Stand]:
    """Return every subsystem's contracts at a file, a folder, or `REVISION:path` of git.

    `at` is where git is asked. Raises NoSource, and ContractBroken for what is no contract.
    """
    path = Path(where)
    if path.is_file():
        document = _sound(path, read_json(path))
        return {document["name"]: Stand(document, _beside(path))}
    if path.is_dir():
        found = ((file, _sound(file, read_json(file)), _beside(file)) for file in files_of(path))
        return _by_name(found)
    if ":" not in where:
        raise NoSource(f"{where}: expected a file, a folder, or REVISION:path")
    return _of_git(where, at)


def at_revision(revision: str, folder: Path) -> dict[str, Stand]:
    """Return what a folder of contracts had at a revision; nothing if it was not there."""
    _git(folder, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}", what=revision)
    prefix = _git(folder, "rev-parse", "--show-prefix").strip().rstrip("/")
    where = f"{revision}:{prefix}"
    try:
        _git(folder, "cat-file", "-e", where)
    except NoSource:
        return {}
    return _of_git(where, folder)


def _beside(file: Path) -> dict[int, Mapping[str, Any]]:
    return {version: read_json(each) for version, each in released_files(file.parent).items()}


def _of_git(where: str, at: Path) -> dict[str, Stand]:
    if _git(at, "cat-file", "-t", where).strip() == "blob":
        document = _sound(Path(where), _parsed(at, where))
        return {document["name"]: Stand(document)}
    contracts: dict[str, Mapping[str, Any]] = {}
    released: dict[str, dict[int, Mapping[str, Any]]] = {}
    base = where if where.endswith((":", "/")) else f"{where}/"
    for line in _git(at, "ls-tree", "-r", "-z", "--full-tree", "--name-only", where).split("\0"):
        path = Path(line)
        if path.name == FILE_NAME:
            contracts[str(path.parent)] = _sound(Path(base + line), _parsed(at, base + line))
        elif path.parent.name == FOLDER and path.suffix == ".json" and path.stem.isdecimal():
            versions = released.setdefault(str(path.parent.parent), {})
            versions[int(path.stem)] = _parsed(at, base + line)
    return _by_name(
        (Path(base + folder), contract, released.get(folder, {}))
        for folder, contract in contracts.items()
    )


def _by_name(
    found: Iterable[tuple[Path, Mapping[str, Any], Mapping[int, Mapping[str, Any]]]],
) -> dict[str, Stand]:
    """Return contracts by their names. Two of one name would hide a change of the other."""
    stands: dict[str, Stand] = {}
    for where, contract, released in found:
        name = contract["name"]
        if name in stands:
            what = f"another contract there is called {name!r}, too"
            raise ContractBroken(str(where), "/name", "unique", what)
        stands[name] = Stand(contract, released)
    return stands


def _sound(label: Path, document: Any) -> Mapping[str, Any]:
    """Return a document that is a contract; only of one its subset says what is compared."""
    contract_of(label, document)
    whole: Mapping[str, Any] = document
    return whole


def _parsed(at: Path, where: str) -> Any:
    try:
        return parse(_git(at, "cat-file", "blob", where), what="the file")
    except BridgeError as error:
        raise ContractBroken(where, "", error.code, error.message) from None


def _git(at: Path, *arguments: str, what: str = "") -> str:
    command = ["git", "-C", str(at), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    except OSError as error:
        raise NoSource(f"git cannot be run: {error.strerror}") from None
    if done.returncode:
        why = done.stderr.strip().removeprefix("fatal: ") or "git has no such revision"
        raise NoSource(f"{what or arguments[-1]}: {why}")
    return done.stdout
