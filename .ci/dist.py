"""Build the packages into dist/, and try each in an empty folder, with nothing linked.

.venv/bin/python .ci/dist.py

The wheel: pip installs it into an environment of its own. The npm package: what `npm pack` gives.
The node: an archive of its sources for whoever tests an Elixir implementation, and a release.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
TYPESCRIPT = ROOT / "contracts" / "typescript"
CONSUMERS = ROOT / "tests" / "consumers"
TALLY = ROOT / "bridge" / "cli" / "template" / "tally"
VERSION = (ROOT / "bridge/VERSION").read_text().strip()
NODE_SOURCES = (
    "bridge/VERSION",
    "elixir_node/apps/bridge/mix.exs",
    "elixir_node/apps/bridge/lib",
)


def main() -> int:
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    os.environ.setdefault("HOME", "/tmp")
    os.environ.setdefault("LC_ALL", "C.UTF-8")
    # Where set-up put Node, if the machine has none that is new enough.
    os.environ["PATH"] = os.pathsep.join([f"{ROOT}/.venv/node", os.environ["PATH"]])
    with tempfile.TemporaryDirectory(prefix="bridge-dist-") as folder:
        bridge = python(Path(folder))
        if shutil.which("npm"):
            typescript(Path(folder), bridge)
        if shutil.which("mix"):
            elixir(Path(folder))
    print("\n".join(["built and tried:", *sorted(f"  dist/{p.name}" for p in DIST.iterdir())]))
    return 0


def python(folder: Path) -> Path:
    """Build the wheel, install it, run what needs no checkout; return its `bridge`."""
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(DIST), str(ROOT))
    [wheel] = DIST.glob("*.whl")
    assert f"-{VERSION}-" in wheel.name, wheel
    run(sys.executable, "-m", "venv", "venv", cwd=folder)
    pip = (f"{folder}/venv/bin/python", "-m", "pip", "install", "-q")
    run(*pip, f"{wheel}[redis]", "pytest")
    bridge = folder / "venv/bin/bridge"
    empty = consumer(folder, "python")
    assert run(str(bridge), "--version", cwd=empty) == VERSION
    assert "heartbeat" in run(str(bridge), "contracts", "list", cwd=empty)
    run(str(bridge), "observe", "--help", cwd=empty)
    run(str(bridge), "new", "mine", "--runtimes", "python,elixir,typescript", cwd=empty)
    yours = ("--contracts", "mine", "--implementations", "implementations.json")
    checked = ask(str(bridge), "contracts", "check", *yours, "--require", "python", cwd=empty)
    assert "yours to write" in checked, checked  # and nothing else is amiss
    print(run(str(bridge), "up", "--check", "--port", "0", cwd=empty))
    run(f"{folder}/venv/bin/python", "-m", "pytest", "-q", cwd=empty)
    return bridge


def typescript(folder: Path, bridge: Path) -> None:
    """Pack the npm package, install it, compile and run the consumer's tests, serve with it."""
    run("npm", "pack", "--silent", "--pack-destination", str(DIST), cwd=TYPESCRIPT)
    [package] = DIST.glob("*.tgz")
    assert package.name == f"joelclaw-bridge-{VERSION}.tgz", package
    yours = consumer(folder, "typescript")
    run("npm", "install", "--no-audit", "--no-fund", "--silent", str(package), cwd=yours)
    assert not (yours / "node_modules/esbuild").exists()
    run("npm", "test", cwd=yours)
    served = run(str(bridge), "up", "--check", "--port", "0", cwd=yours)
    assert "typescript  heartbeat" in served, served
    if bun := shutil.which("bun"):
        run(bun, "test", "tally.test.ts", cwd=yours)
        alone = folder / "bun"
        alone.mkdir()
        (alone / "bun").symlink_to(bun)
        served = run(str(bridge), "up", "--check", "--port", "0", cwd=yours, PATH=str(alone))
        assert "typescript  heartbeat" in served, served


def elixir(folder: Path) -> None:
    """Pack the node's sources, run the consumer's tests on them, build and start a release."""
    archive = DIST / f"joelclaw-bridge-elixir-{VERSION}.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name in NODE_SOURCES:
            tar.add(ROOT / name, name)
    with tarfile.open(archive) as tar:
        tar.extractall(folder / "package", filter="data")
    yours = consumer(folder, "elixir")
    package = folder / "package/elixir_node/apps/bridge"
    run("mix", "test", cwd=yours, BRIDGE_PACKAGE=str(package))
    release = folder / "release"
    run("mix", "release", "--path", str(release), cwd=package, MIX_ENV="prod")
    said = run(str(release / "bin/bridge"), "eval", "IO.puts(Bridge.Link.Session.protocol())")
    assert said == "1", said


def consumer(folder: Path, language: str) -> Path:
    """Copy a consumer's repository out of this one, with the subsystem `bridge new` writes."""
    yours = folder / language
    shutil.copytree(CONSUMERS / language, yours)
    shutil.copytree(TALLY, yours / "tally")
    return yours


def run(*command: str, cwd: Path = ROOT, **env: str) -> str:
    print("$", *command, flush=True)
    done = _run(*command, cwd=cwd, **env)
    if done.returncode:
        sys.exit(f"{done.stdout}\n{done.stderr}\nexit code {done.returncode}")
    return done.stdout.strip()


def ask(*command: str, cwd: Path) -> str:
    """Run what may fail, and return all it said."""
    done = _run(*command, cwd=cwd)
    return done.stdout + done.stderr


def _run(*command: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    own = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, cwd=cwd, env=own | env, capture_output=True, text=True)


if __name__ == "__main__":
    sys.exit(main())
