"""`python -m tests.chaos --seconds 600 --seed N`: a long run, with counts and findings."""

from __future__ import annotations

import argparse
import asyncio
import secrets
from pathlib import Path

from tests.chaos.run import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    parser.add_argument(
        "--skew-ms", type=int, default=2000, help="workers' clocks are off by up to"
    )
    parser.add_argument("--history", type=Path, help="write the clients' history to this file")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    report = asyncio.run(
        run(options.seconds, options.seed, skew_ms=options.skew_ms, history=options.history)
    )
    print(report)
    if report.logs:
        print(report.logs)
    return int(bool(report.findings or report.unsettled or report.leftovers))


if __name__ == "__main__":
    raise SystemExit(main())
