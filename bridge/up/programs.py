"""What can be started on this machine, and the way to get what cannot."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bridge.contracts.files import ROOT
from bridge.message import RuntimeName
from bridge.up.place import open_log

LEAST_NODE = (20, 0)
LEAST_ELIXIR_WEB = (1, 15)
WEB = "BRIDGE_WEB"  # 1: the umbrella has its web part, elixir_node/mix.exs
COMPILE_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Missing:
    """Why a runtime cannot run here, with the way to get it, in one line."""

    reason: str


@dataclass(frozen=True, slots=True)
class Command:
    """How to start a runtime; `compile` first, if it is not empty."""

    argv: tuple[str, ...]
    cwd: Path
    compile: tuple[str, ...] = ()
    compile_env: Mapping[str, str] = field(default_factory=dict)


def search_path() -> str:
    """Return PATH, behind the directory where set-up puts Node if the machine has none."""
    return os.pathsep.join([os.path.join(sys.prefix, "node"), os.environ.get("PATH", os.defpath)])


def worker() -> tuple[str, ...]:
    return (sys.executable, "-u", "-m", "bridge.gateway")


def typescript(path: str, root: Path = ROOT) -> Command | Missing:
    """Return how to start the TypeScript service under Node, else under Bun."""
    folder = root / "contracts" / "typescript"
    if not (folder / "package.json").exists():
        folder = Path.cwd() / "node_modules" / "joelclaw-bridge"
    if not (folder / "package.json").exists():
        return Missing(
            f"no TypeScript service in {folder}: `npm install` here the package that"
            " `make dist` builds"
        )
    node, bun = shutil.which("node", path=path), shutil.which("bun", path=path)
    node_version = _version(node, "--version") if node else (0, 0)
    if node and node_version >= LEAST_NODE:
        if _built(folder):
            return Command((node, "dist/main.js"), folder)
        if not bun:
            return Missing(f"not built as it is now: `cd {folder} && npm ci && npm run build`")
    if bun:
        if not (folder / "src").exists():  # the package: it has what was built
            return Command((bun, "dist/main.js"), folder)
        if (folder / "node_modules").exists():
            return Command((bun, "src/main.ts"), folder)
        return Missing(f"not installed: `cd {folder} && bun install`")
    found = f"Node {node_version[0]} is too old" if node else "no Node and no Bun"
    return Missing(
        f"{found}: `make run` gets one, or `apt-get install nodejs npm` or `brew install node`,"
        f" version {LEAST_NODE[0]} or newer"
    )


def elixir(path: str, root: Path = ROOT, *, web: bool = False) -> Command | Missing:
    """Return how to start the Elixir node, with its web part or without."""
    folder = root / "elixir_node"
    if not (folder / "mix.exs").exists():
        return Missing(f"no Elixir node in {folder}: install joelclaw-bridge again")
    binary, mix = shutil.which("elixir", path=path), shutil.which("mix", path=path)
    if not binary or not mix:
        return Missing("no Elixir: `apt-get install elixir` or `brew install elixir`")
    beams = folder / "_build" / "prod" / "lib" / ("*" if web else "bridge") / "ebin"
    # +Bi: Ctrl-C is for `bridge up` alone. A crash dump would hold what clients sent.
    flags = "+Bi -env ERL_CRASH_DUMP_BYTES 0"
    main = "BridgeWeb.main()" if web else "Bridge.Application.main()"
    argv = (binary, "--erl", flags, "-pa", str(beams), "-e", main)
    # Always: a checkout that changed must not run what it was before.
    return Command(argv, folder, (mix, "compile"), {WEB: "1"} if web else {})


def web(path: str, root: Path = ROOT) -> Missing | None:
    """Say why the node cannot have its web part here; None if it can."""
    folder = root / "elixir_node"
    found = elixir(path, root)
    if isinstance(found, Missing):
        return found
    if not (folder / "apps" / "bridge_web" / "mix.exs").exists():
        return Missing("the Phoenix edge is not in the package: run from a checkout")
    version = _version(found.argv[0], "--short-version")
    if version < LEAST_ELIXIR_WEB:
        have, want = (".".join(map(str, v)) for v in (version, LEAST_ELIXIR_WEB))
        return Missing(
            f"Elixir {have} is too old for Phoenix: {want} or newer (`brew install elixir`)"
        )
    packages = Path(os.environ.get("MIX_DEPS_PATH", folder / "deps"))
    if not (packages / "phoenix" / "mix.exs").exists():
        return Missing(f"no Phoenix packages: `cd {folder} && {WEB}=1 mix deps.get`")
    return None


def check(runtime: RuntimeName, argv: Sequence[str], file: str, kept: Path) -> tuple[str, ...]:
    """Return the program that says whether a runtime can load an implementation.

    `argv` is how the runtime is started. It ends with 1 and the reason on standard error. In
    Elixir it takes the text from `kept`, and leaves the compiled code beside that.
    """
    if runtime == "elixir":
        return (*argv[:-1], f"Bridge.Implementations.check({_text(file)}, {_text(str(kept))})")
    program, main = argv
    return (program, main.replace("main.", "check."), file)


def _text(path: str) -> str:
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("#{", "\\#{")
    return f'"{escaped}"'


async def compiled(command: Command, env: Mapping[str, str], log: Path) -> Missing | None:
    """Compile what has changed of what the command starts; return why that failed."""
    if not command.compile:
        return None
    output = open_log(log)
    try:
        process = await asyncio.create_subprocess_exec(
            *command.compile,
            cwd=command.cwd,
            env={**env, **command.compile_env, "MIX_ENV": "prod"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    finally:
        os.close(output)
    try:
        async with asyncio.timeout(COMPILE_TIMEOUT_S):
            code = await process.wait()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    return Missing(f"`{' '.join(command.compile)}` failed: see {log}") if code else None


def _built(folder: Path) -> bool:
    """Say whether the build is there and no source is newer: a stale one runs other rules."""
    result = folder / "dist" / "main.js"
    if not result.exists():
        return False
    times = (source.stat().st_mtime for source in (folder / "src").rglob("*.ts"))
    return max(times, default=0.0) <= result.stat().st_mtime


def _version(*argv: str) -> tuple[int, int]:
    """Return the major and minor version that a program prints; zeros if it prints none."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return 0, 0
    found = re.search(r"(\d+)\.(\d+)", done.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)
