"""Subsystems of the user: refused before the start if need be, looked for after it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from bridge.client import NotReached
from bridge.contracts.files import BUILT_IN
from bridge.contracts.implementations import load, require_contracts
from bridge.contracts.registry import Registry
from bridge.message import RuntimeName
from bridge.settings import Settings
from bridge.up.admin import fetch, served_by
from bridge.up.place import StartFailed
from bridge.up.probe import Finding

_Files = Mapping[str, Mapping[str, str]]

IMPORT_TIMEOUT_S = 30.0
# Services announce what they have within a second or two of their start.
SERVED_TIMEOUT_S = 5.0
AGAIN_S = 0.2


async def check_implementations(
    settings: Settings, registry: Registry, env: Mapping[str, str]
) -> None:
    """Refuse at once what no worker could start with: a Python file that cannot be imported.

    In a process of its own: what a user's module does when it is imported stays there. Raises
    StartFailed and ContractBroken.
    """
    if not settings.implementations:
        return
    file = Path(settings.implementations)
    require_contracts([file], registry.names())
    if not any("python" in entries for entries in load(file).values()):
        return
    await import_python(file, settings.builds, env)


async def import_python(file: Path, builds: str, env: Mapping[str, str]) -> None:
    """Import what a file names, as it was when the builds were kept. Raises StartFailed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bridge.contracts.implementations", str(file), builds),
        env=env,
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
        raise StartFailed(
            f"{file}: importing its Python implementations takes more than {IMPORT_TIMEOUT_S:g} s"
        ) from None
    if process.returncode:
        raise StartFailed((said.decode(errors="replace").splitlines() or [str(file)])[-1])


async def look(
    settings: Settings, registry: Registry, url: str, there: Collection[RuntimeName]
) -> list[Finding]:
    """Ask a worker whether it can reach what the user's contracts and implementations name."""
    files = load(Path(settings.implementations)) if settings.implementations else {}
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
