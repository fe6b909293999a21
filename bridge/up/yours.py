"""Subsystems of the user: left out of the start if need be, looked for after it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from bridge.client import NotReached
from bridge.contracts.files import BUILT_IN
from bridge.contracts.implementations import LeftOut, load
from bridge.contracts.registry import Registry
from bridge.errors import ContractBroken
from bridge.message import RuntimeName
from bridge.settings import Settings
from bridge.up.admin import fetch, served_by
from bridge.up.probe import Finding

_Files = Mapping[str, Mapping[str, str]]

IMPORT_TIMEOUT_S = 30.0
# Services announce what they have within a second or two of their start.
SERVED_TIMEOUT_S = 5.0
AGAIN_S = 0.2


async def not_importable(
    settings: Settings, implementations: _Files, env: Mapping[str, str]
) -> LeftOut:
    """Return the Python implementations that no worker could start with.

    They are imported in a process of its own: what a user's module does then stays there. One
    process for all; if that fails, one for each.
    """
    file = Path(settings.implementations)
    own = [] if not settings.implementations else load(file, [])
    names = [name for name in own if "python" in implementations.get(name, {})]
    if not names or not await import_python(file, settings.builds, env):
        return []
    faults: LeftOut = []
    for name in names:
        if why := await import_python(file, settings.builds, env, name):
            where, what = implementations[name]["python"], why.removeprefix(f"{file}: ")
            what = what.rpartition(": import: ")[2]
            faults.append(ContractBroken(where, f"/{name}/python", "import", what))
    return faults


async def import_python(
    file: Path, builds: str, env: Mapping[str, str], subsystem: str = ""
) -> str:
    """Import what a file names, as it was when the builds were kept; return why that fails."""
    module, only = "bridge.contracts.implementations", [subsystem] if subsystem else []
    argv = (sys.executable, "-m", module, str(file), builds, *only)
    return await not_loadable(str(file), argv, env)


async def not_loadable(
    file: str, argv: Sequence[str], env: Mapping[str, str], cwd: Path | None = None
) -> str:
    """Run a program that fails if a file cannot be loaded; return why, "" if it can."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(IMPORT_TIMEOUT_S):
            _, said = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return f"{file}: importing it takes more than {IMPORT_TIMEOUT_S:g} s"
    if not process.returncode:
        return ""
    ended = f"{file}: the process that loads it ended with {process.returncode}"
    lines = said.decode(errors="replace").splitlines() or [ended]
    return next((line for line in lines if line.startswith(file)), lines[-1])


async def look(
    settings: Settings, registry: Registry, url: str, there: Collection[RuntimeName]
) -> list[Finding]:
    """Ask a worker whether it can reach what the user's contracts and implementations name."""
    files = load(Path(settings.implementations), []) if settings.implementations else {}
    wanted = list(_wanted(registry, files, there))
    deadline = time.monotonic() + SERVED_TIMEOUT_S
    absent = wanted
    while absent and time.monotonic() < deadline:
        try:
            status = await asyncio.to_thread(fetch, f"{url}/admin/status", settings.token)
        except NotReached:
            status = None
        absent = [(r, name) for r, name in absent if name not in (served_by(status, r) or ())]
        await asyncio.sleep(AGAIN_S if absent else 0)
    return [
        Finding(r, name, None, _why(settings, r, files, name) if (r, name) in absent else "")
        for r, name in wanted
    ]


def said_of(log: Path, where: str) -> str:
    """Return the last thing a log says of a file, empty if it says nothing."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line[line.index(where) :] for line in reversed(lines) if where in line), "")


def _wanted(
    registry: Registry, files: _Files, there: Collection[RuntimeName]
) -> Iterator[tuple[RuntimeName, str]]:
    for name in registry.names():
        contract = registry.get(name)
        named = {contract.owner, contract.fallback}
        if registry.file(name).is_relative_to(BUILT_IN):
            named = set()
        yield from ((r, name) for r in there if r in named or r in files.get(name, {}))


def _why(settings: Settings, runtime: RuntimeName, files: _Files, name: str) -> str:
    where = files.get(name, {}).get(runtime)
    if where is None:
        file = settings.implementations or "(no --implementations)"
        return f"not served: the contract names {runtime}, {file} has none"
    logs = Path(settings.dir) / "logs"
    log = logs / {"python": "worker.log", "typescript": "typescript.log"}.get(runtime, "node.log")
    return f"not served: {said_of(log, where) or where}"
