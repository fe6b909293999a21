"""What each child finds in its environment. No I/O but the implementations file."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from bridge.contracts import activities
from bridge.contracts.files import CODE, contract_folders
from bridge.contracts.implementations import of_settings
from bridge.settings import PREFIX, Settings, environment


def absolute(settings: Settings) -> Settings:
    """Return the settings with full paths: children run in directories of their own."""
    folders = [str(Path(folder).resolve()) for folder in settings.contracts.split(":") if folder]
    file = settings.implementations
    return replace(
        settings,
        dir=str(Path(settings.dir).resolve()),
        contracts=":".join(folders),
        implementations=file and str(Path(file).resolve()),
    )


def shared(environ: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """Return the environment of every child: ours, with the settings as they are now."""
    env = {name: text for name, text in environ.items() if not name.startswith(PREFIX)}
    env.setdefault("HOME", settings.dir)  # mix and erl insist on one
    if "utf" not in env.get("LC_ALL", env.get("LANG", "")).lower():
        env["LC_ALL"] = "en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8"
    # Workers are to be the same bridge as this one, in whatever directory they are started.
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(CODE), env.get("PYTHONPATH")]))
    # Service and node look for ours as for yours.
    folders = ":".join(map(str, contract_folders(settings)))
    return env | environment(settings) | {f"{PREFIX}CONTRACTS": folders}


def of_node(settings: Settings, names: Collection[str]) -> dict[str, str]:
    """Return what the Elixir node needs besides: its workers and implementations.

    It has no JSON parser, so the implementations file is read for it, here.
    """
    served = of_settings(settings, names, [])
    files = {name: entries["elixir"] for name, entries in served.items() if "elixir" in entries}
    file = settings.implementations
    performed = activities.of_runtime(activities.load(Path(file)), "elixir") if file else {}
    sources = {name: Path(settings.builds, "elixir", f"{name}.ex") for name in files}
    return {
        "BRIDGE_NODE_WORKERS": str(settings.workers),
        "BRIDGE_PYTHON": sys.executable,
        "BRIDGE_PARENT_STDIN": "1",
        "BRIDGE_WORKER_LOG": str(Path(settings.dir) / "logs" / "worker.log"),
        "ERL_CRASH_DUMP": str(Path(settings.dir) / "logs" / "erl_crash.dump"),
        "BRIDGE_ELIXIR_IMPLEMENTATIONS": "\n".join(f"{n}={p}" for n, p in files.items()),
        "BRIDGE_ELIXIR_SOURCES": "\n".join(
            f"{n}={p}" for n, p in sources.items() if settings.builds
        ),
        "BRIDGE_ELIXIR_ACTIVITIES": "\n".join(f"{n}={p}" for n, p in performed.items()),
    }
