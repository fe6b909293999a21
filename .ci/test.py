"""Run every check and test; the last line counts them.

.venv/bin/python .ci/test.py [--static]
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
CORES = os.cpu_count() or 1


@dataclass(frozen=True)
class Step:
    """One command. `counts` finds numbers of tests in its output: outcome to pattern."""

    name: str
    command: tuple[str, ...]
    folder: Path = ROOT
    needs: str = ""
    counts: dict[str, str] = field(default_factory=dict)


TYPESCRIPT = ROOT / "contracts" / "typescript"
NODE = ROOT / "elixir_node"
WEB = NODE / "apps" / "bridge_web"
WITH_WEB = {"BRIDGE_WEB": "1", "BRIDGE_PHOENIX_PORT": "0"}
PYTEST = {word: rf"^=.*\b(\d+) {word}" for word in ("passed", "failed", "skipped", "error")}
NODE_TEST = {
    "passed": r"^\S pass (\d+)",
    "failed": r"^\S fail (\d+)",
    "skipped": r"^\S skipped (\d+)",
}
# ExUnit says `193 tests, 2 failures, 1 skipped`, from 1.20 on `Result: 190 passed, 2 failed, …`.
EXUNIT = {
    "all": r"(\d+) tests?, ",
    "passed": r"^Result: .*?(\d+) passed",
    "failed": r"(\d+) fail(?:ures?|ed)",
    "skipped": r"(\d+) skipped",
}
STATIC = (
    Step("ruff", ("ruff", "check", ".")),
    Step("format", ("ruff", "format", "--check", ".")),
    Step("mypy", ("mypy",)),
    Step("imports", ("lint-imports",)),
    Step("generated", ("python", "-m", "bridge.contracts.generate", "--check")),
    Step("reference", ("python", "-m", "bridge.cli.reference", "--check")),
    Step("typescript types", ("npm", "run", "--silent", "lint"), TYPESCRIPT, "npm"),
    Step("elixir format", ("mix", "format", "--check-formatted"), NODE, "mix"),
)
TESTS = (
    Step("typescript", ("npm", "test", "--silent"), TYPESCRIPT, "npm", NODE_TEST),
    Step("elixir", ("mix", "test"), NODE, "mix", EXUNIT),
    Step("phoenix", ("mix", "check"), WEB, "mix", EXUNIT),
    # Tests wait for processes more than they compute: one more of them than there are cores.
    Step(
        "python",
        ("python", "-m", "pytest", "-n", str(CORES + 1), "--dist", "worksteal"),
        ROOT,
        "",
        PYTEST,
    ),
)


def main(arguments: list[str]) -> int:
    os.environ.setdefault("HOME", "/tmp")
    os.environ.setdefault("LC_ALL", "C.UTF-8")
    # Where set-up put Node, if the machine has none that is new enough.
    os.environ["PATH"] = os.pathsep.join([str(BIN.parent / "node"), os.environ["PATH"]])
    total: Counter[str] = Counter()
    with ThreadPoolExecutor(CORES) as pool:
        for found in pool.map(run, STATIC):
            total += found
    for step in () if "--static" in arguments else TESTS:
        total += run(step)
    print(", ".join(f"{total[what]} {what}" for what in ("passed", "failed", "skipped")))
    return int(total["failed"] > 0)


def no_phoenix() -> str:
    """Say why the node cannot have its web part here, and how to get it; empty if it can."""
    from bridge.up import programs  # of the environment that set-up made

    missing = programs.web(programs.search_path())
    return missing.reason if missing is not None else ""


def run(step: Step) -> Counter[str]:
    """Run one step and return how many tests passed, failed and were skipped."""
    why = f"no {step.needs} here" if step.needs and not shutil.which(step.needs) else ""
    if not why and step.folder == WEB:
        why = no_phoenix()
    if why:
        print(f"== {step.name}: skipped, {why}", flush=True)
        return Counter(skipped=1)
    alone = bool(step.counts)  # checks run side by side: each speaks once, in one piece
    if alone:
        print(f"== {step.name}", flush=True)
    program = BIN / step.command[0]
    command = (str(program) if program.exists() else step.command[0], *step.command[1:])
    started = time.monotonic()
    lines = []
    with subprocess.Popen(
        command,
        cwd=step.folder,
        env={**os.environ, **(WITH_WEB if step.folder == WEB else {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if alone:
                print(line, end="", flush=True)
            lines.append(line)
    took = f"exit code {process.returncode}, {time.monotonic() - started:.1f} s"
    print("" if alone else "".join(lines), f"== {step.name}: {took}", sep="", flush=True)
    return counted(step, "".join(lines[-30:]), process.returncode)


def counted(step: Step, output: str, code: int) -> Counter[str]:
    found = Counter(
        {
            what: int(matches[-1])
            for what, pattern in step.counts.items()
            if (matches := re.findall(pattern, output, re.MULTILINE))
        }
    )
    found["failed"] += found.pop("error", 0)
    if "all" in found:
        found["passed"] = found.pop("all") - found["failed"] - found["skipped"]
    if step.counts and code == 0 and not found["passed"]:
        # A runner whose words are new must not pass for one that ran nothing.
        print(f"== {step.name}: no number of tests is found in its last lines", flush=True)
        found["failed"] = 1
    if not step.counts:
        found["passed"] = int(code == 0)
    if code != 0 and not found["failed"]:
        found["failed"] = 1
    return +found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
