"""What a process and those beneath it have used: computing time and memory, by `ps`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

CLOCK = os.sysconf("SC_CLK_TCK")


class Usage(NamedTuple):
    """Seconds of computing since the start, and resident bytes now."""

    cpu_s: float
    rss_bytes: int


def usage(pid: int) -> Usage:
    """Return the sum over a process and all beneath it; what has ended counts no more."""
    listed = subprocess.run(
        ["ps", "-axo", "pid=,ppid=,rss=,time="], capture_output=True, text=True, check=True
    )
    rows = [line.split() for line in listed.stdout.splitlines()]
    below, grown = {pid}, True
    while grown:
        more = {int(row[0]) for row in rows if int(row[1]) in below} - below
        below |= more
        grown = bool(more)
    mine = [row for row in rows if int(row[0]) in below]
    cpu_s = sum(_fine(int(row[0])) or _seconds(row[3]) for row in mine)
    return Usage(cpu_s, sum(int(row[2]) for row in mine) * 1024)


def _fine(pid: int) -> float:
    """Return a process's seconds in hundredths, where Linux tells; else 0."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / CLOCK


def _seconds(time: str) -> float:
    """Read `[[dd-]hh:]mm:ss[.cc]`."""
    days, _, rest = time.rpartition("-")
    total = 0.0
    for part in rest.split(":"):
        total = total * 60 + float(part)
    return total + 86_400 * int(days or 0)
