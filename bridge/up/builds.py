"""What `bridge up` serves, kept as it was at its start, and what of it has changed since."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from bridge.contracts import builds
from bridge.contracts.builds import Build
from bridge.contracts.files import BUILT_IN
from bridge.contracts.implementations import (
    FILE_NAME,
    LeftOut,
    of_settings,
    with_contracts,
)
from bridge.contracts.loading import FILE_NAME as CONTRACT
from bridge.contracts.registry import Registry
from bridge.contracts.scenarios import FILE_NAME as SCENARIOS
from bridge.message import RUNTIMES, RuntimeName
from bridge.settings import Settings

FOLDER = "builds"
LEFT_OUT = "left_out.json"


def keep(settings: Settings, registry: Registry, left_out: LeftOut) -> Settings:
    """Keep contracts and implementations; return the settings by which children find them.

    Contracts are those of the registry, and implementations of others are put into `left_out`.
    Raises ContractBroken for an implementations file that is none.
    """
    folder = Path(settings.dir) / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    yours = folder / "contracts"
    for name in registry.names():
        if not registry.file(name).is_relative_to(BUILT_IN):
            (yours / name).mkdir(parents=True)
            shutil.copyfile(registry.file(name), yours / name / CONTRACT)
            with contextlib.suppress(FileNotFoundError):
                scenarios = registry.file(name).with_name(SCENARIOS)
                shutil.copyfile(scenarios, yours / name / SCENARIOS)
    if settings.implementations:
        file = Path(settings.implementations)
        _write(folder, with_contracts(file, registry.names(), left_out))
    kept = replace(settings, contracts=str(yours) if yours.is_dir() else "", builds=str(folder))
    for subsystem, where in of_settings(kept, registry.names()).items():
        for runtime, build in found(settings, where):
            builds.write(folder, runtime, subsystem, build)
    return kept


def leave_out(settings: Settings, faults: LeftOut) -> None:
    """Serve no longer what was kept and cannot be imported; keep what is to be said of it all."""
    folder = Path(settings.builds)
    served = json.loads((folder / FILE_NAME).read_text()) if settings.implementations else {}
    for fault in faults:
        if fault.rule == "import":
            _, subsystem, runtime = fault.pointer.split("/")
            del served[subsystem][runtime]
            (folder / runtime / f"{subsystem}.json").unlink(missing_ok=True)
    if settings.implementations:
        _write(folder, served)
    (folder / LEFT_OUT).write_text(json.dumps([str(fault) for fault in faults]))


def left_out(directory: Path) -> list[str]:
    """Return what `bridge up` left out of its start, each with the reason."""
    try:
        return list(json.loads((directory / FOLDER / LEFT_OUT).read_text()))
    except FileNotFoundError:
        return []


def found(settings: Settings, where: Mapping[str, str]) -> Iterator[tuple[str, Build]]:
    """Yield the builds of a subsystem's implementations as their files are now.

    Of TypeScript the service keeps them itself, as it alone knows what is imported.
    """
    if "python" in where:
        folder = Path(settings.implementations).resolve().parent
        yield "python", builds.python_sources(where["python"], folder)
    if "elixir" in where:
        yield "elixir", builds.one_file(where["elixir"])


def again(settings: Settings, subsystem: str, where: Mapping[str, str]) -> Path:
    """Return a copy of what is kept, with this subsystem's files as they are now.

    `take` has it served.
    """
    folder, fresh = Path(settings.dir) / FOLDER, Path(settings.dir) / f"{FOLDER}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(folder, fresh)
    if settings.implementations:
        _write(fresh, {**json.loads((fresh / FILE_NAME).read_text()), subsystem: where})
    taken_in = [f": /{subsystem}/{runtime}: " for runtime in where]
    still = [why for why in left_out(Path(settings.dir)) if not any(t in why for t in taken_in)]
    (fresh / LEFT_OUT).write_text(json.dumps(still))
    for runtime, build in found(settings, where):
        builds.write(fresh, runtime, subsystem, build)
    return fresh


def take(settings: Settings, fresh: Path, subsystem: str) -> None:
    """Serve what `again` made, Python aside: whoever looks next finds that, each file whole."""
    for path in fresh.rglob("*"):
        if path.is_file() and path.parent.name != "python":
            path.replace(Path(settings.dir, FOLDER, path.relative_to(fresh)))
    for path in Path(settings.dir, FOLDER).glob(f"typescript/{subsystem}.*"):
        path.unlink()


def take_python(settings: Settings, fresh: Path) -> None:
    """Serve its Python too, and remove it: the workers' own, which look for it by themselves."""
    for path in fresh.glob("python/*"):
        path.replace(Path(settings.dir, FOLDER, path.relative_to(fresh)))
    shutil.rmtree(fresh)


def _write(folder: Path, implementations: Mapping[str, Mapping[str, str]]) -> None:
    (folder / FILE_NAME).write_text(json.dumps(implementations))


def kept(directory: Path) -> Iterator[tuple[str, RuntimeName, Build]]:
    """Yield what is served: subsystem, runtime, build."""
    for runtime in RUNTIMES:
        for subsystem, build in builds.read(directory / FOLDER, runtime).items():
            yield subsystem, runtime, build
