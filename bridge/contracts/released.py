"""Released versions never change: of each there is a copy, `released/<version>.json`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bridge.canonical import canonical
from bridge.contracts.files import read_json
from bridge.contracts.loading import FILE_NAME, load_contract

FOLDER = "released"


def released_files(folder: Path) -> dict[int, Path]:
    """Return the copies in a subsystem's folder, by version."""
    found = (folder / FOLDER).glob("*.json")
    return {int(file.stem): file for file in sorted(found) if file.stem.isdecimal()}


def changed(folders: Sequence[Path]) -> dict[str, str]:
    """Return what is wrong with each subsystem that has released versions; empty: nothing.

    A folder is one of subsystems, or one subsystem's own.
    """
    found: dict[str, str] = {}
    for folder in folders:
        for each in sorted([*folder.glob(FOLDER), *folder.glob(f"*/{FOLDER}")]):
            if versions := released_files(each.parent):
                found[each.parent.name] = _fault(each.parent, versions)
    return found


def release(file: Path) -> str | None:
    """Copy a contract that is not released yet; return it as `name@version`.

    Raises ValueError while a released version has changed.
    """
    contract = load_contract(file)
    if fault := _fault(file.parent, released_files(file.parent)):
        raise ValueError(f"{contract.name}: {fault}")
    copy = file.parent / FOLDER / f"{contract.version}.json"
    if copy.exists():
        return None
    copy.parent.mkdir(exist_ok=True)
    copy.write_bytes(file.read_bytes())
    return f"{contract.name}@{contract.version}"


def _fault(folder: Path, versions: dict[int, Path]) -> str:
    if not versions:
        return ""
    newest = max(versions)
    file = folder / FILE_NAME
    if not file.is_file():
        return f"released up to version {newest}, now gone"
    document = read_json(file)
    version = document.get("version")
    if not isinstance(version, int) or version < newest:
        return f"version {version} is older than the released {newest}"
    if version in versions and canonical(read_json(versions[version])) != canonical(document):
        return f"version {version} is released and has changed: make it version {newest + 1}"
    return ""
