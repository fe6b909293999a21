"""What `bridge up` serves, kept as it was at its start, and what of it has changed since."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bridge.contracts import builds
from bridge.contracts.builds import Build
from bridge.contracts.implementations import FILE_NAME, load, load_all
from bridge.contracts.registry import files_of
from bridge.message import RUNTIMES, RuntimeName
from bridge.settings import Settings

FOLDER = "builds"


def keep(settings: Settings) -> Settings:
    """Keep contracts and implementations; return the settings by which children find them.

    Raises ContractBroken for an implementations file that is none.
    """
    folder = Path(settings.dir) / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    contracts = []
    for n, given in enumerate(filter(None, settings.contracts.split(":"))):
        for file in files_of(Path(given)):
            copy = folder / "contracts" / str(n) / file.parent.name / file.name
            copy.parent.mkdir(parents=True)
            shutil.copyfile(file, copy)
        contracts.append(str(folder / "contracts" / str(n)))
    if settings.implementations:
        (folder / FILE_NAME).write_text(json.dumps(load(Path(settings.implementations))))
    for subsystem in entries(settings):
        for runtime, build in found(settings, subsystem):
            builds.write(folder, runtime, subsystem, build)
    return replace(settings, contracts=":".join(contracts), builds=str(folder))


def found(settings: Settings, subsystem: str) -> Iterator[tuple[str, Build]]:
    """Yield the builds of a subsystem's implementations as their files are now.

    Of TypeScript the service keeps them itself, as it alone knows what is imported. Raises
    ContractBroken.
    """
    where = entries(settings).get(subsystem, {})
    if "python" in where:
        folder = Path(settings.implementations).resolve().parent
        yield "python", builds.python_sources(where["python"], folder)
    if "elixir" in where:
        yield "elixir", builds.one_file(where["elixir"])


def again(settings: Settings, subsystem: str) -> Path:
    """Return a copy of what is kept, with this subsystem's files as they are now.

    `take` has it served. Raises ContractBroken.
    """
    folder, fresh = Path(settings.dir) / FOLDER, Path(settings.dir) / f"{FOLDER}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(folder, fresh)
    if settings.implementations:
        (fresh / FILE_NAME).write_text(json.dumps(load(Path(settings.implementations))))
    for runtime, build in found(settings, subsystem):
        builds.write(fresh, runtime, subsystem, build)
    return fresh


def take(settings: Settings, fresh: Path, subsystem: str) -> None:
    """Serve what `again` made: whoever looks next finds that, each file whole."""
    folder = Path(settings.dir) / FOLDER
    for path in fresh.rglob("*"):
        if path.is_file():
            path.replace(folder / path.relative_to(fresh))
    for path in folder.glob(f"typescript/{subsystem}.*"):
        path.unlink()
    shutil.rmtree(fresh)


def entries(settings: Settings) -> dict[str, dict[str, str]]:
    """Return where each implementation is, ours and the user's. Raises ContractBroken."""
    file = settings.implementations
    return load_all(*([Path(file)] if file else []))


def kept(directory: Path) -> Iterator[tuple[str, RuntimeName, Build]]:
    """Yield what is served: subsystem, runtime, build."""
    for runtime in RUNTIMES:
        for subsystem, build in builds.read(directory / FOLDER, runtime).items():
            yield subsystem, runtime, build
