"""A port program started as the BEAM starts it, and a link to it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bridge.link.link import Link
from bridge.link.session import SessionLimits
from bridge.link.transports.descriptors import Descriptors
from tests.deadline import DEADLINE_S

ROOT = Path(__file__).parents[2]
APPENDED = ["-u", "-m", "erlport.cli", "--packet=4"]
SIZES = ["--compressed=0", "--buffer_size=65536"]
# subprocess cannot choose the numbers under which a child gets its descriptors.
ON_3_AND_4 = """
import fcntl, os, sys
read, write = (fcntl.fcntl(int(fd), fcntl.F_DUPFD, 10) for fd in sys.argv[1:3])
os.dup2(read, 3)
os.dup2(write, 4)
os.closerange(5, 100)
os.execv(sys.argv[3], sys.argv[3:])
"""


@dataclass
class Program:
    process: subprocess.Popen[bytes]
    link: Link


def spawn(use_stdio: bool, read_fd: int, write_fd: int) -> subprocess.Popen[bytes]:
    """Start `tests.link.peer` with the descriptors where ErlPort puts them."""
    argv = [sys.executable, "-m", "tests.link.peer", *APPENDED]
    if use_stdio:
        return subprocess.Popen(
            [*argv, "--use_stdio", *SIZES],
            cwd=ROOT,
            stdin=read_fd,
            stdout=write_fd,
            stderr=subprocess.PIPE,
        )
    wrapper = [sys.executable, "-c", ON_3_AND_4, str(read_fd), str(write_fd)]
    return subprocess.Popen(
        [*wrapper, *argv, "--nouse_stdio", *SIZES],
        cwd=ROOT,
        pass_fds=(read_fd, write_fd),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@asynccontextmanager
async def program(use_stdio: bool, limits: SessionLimits | None = None) -> AsyncIterator[Program]:
    """Run a port program and link to it; kill it in the end."""
    child_reads, we_write = os.pipe()
    we_read, child_writes = os.pipe()
    process = spawn(use_stdio, child_reads, child_writes)
    os.close(child_reads)
    os.close(child_writes)
    link = Link(Descriptors(we_read, we_write), limits)
    link.start()
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield Program(process, link)
    finally:
        link.close("the test ends")
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


async def output(started: Program) -> tuple[int, str, str]:
    """Close the link, wait for the program's end; return exit code, stdout and stderr."""
    started.link.close("done")
    out, error = await asyncio.to_thread(started.process.communicate)
    return started.process.returncode, (out or b"").decode(), (error or b"").decode()
