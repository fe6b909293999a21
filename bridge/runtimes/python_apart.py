"""Python handlers apart from the worker, for shadows: whatever they do, clients do not wait."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
from collections.abc import Mapping
from typing import Any

import orjson

from bridge.errors import RuntimeUnavailable
from bridge.message import Invocation, Judge, Outcome, RuntimeName
from bridge.patience import Timeout
from bridge.runtimes.python import PythonRuntime
from bridge.runtimes.remote import outcome_of, request_of
from bridge.runtimes.runtime import unjudged

START_S = 10.0  # until the first answer: it imports the bridge and the handlers
MAX_ANSWER_BYTES = 16_777_216


class PythonApart:
    """A process with the handlers of `here`, started when it is first asked for something.

    It is started again when it has ended, and when a build of `here` is another one than at its
    start. It ends with the worker: its standard input does.
    """

    name: RuntimeName = "python"

    def __init__(self, here: PythonRuntime) -> None:
        self._here = here
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._builds: Mapping[str, str] = {}
        self._answered = False
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Mapping[str, Any]]] = {}

    def available(self, subsystem: str) -> bool:
        return self._here.available(subsystem)

    async def handle(self, invocation: Invocation, judge: Judge = unjudged) -> Outcome:
        async with self._starting:
            process = await self._running()
        loop = asyncio.get_running_loop()
        number, answer = next(self._ids), loop.create_future()
        self._waiting[number] = answer
        asked = {**request_of(invocation), "timeout_ms": invocation.timeout_ms}
        text = orjson.dumps({"id": number, "invocation": asked})
        wait_s = invocation.timeout_ms / 1000 + (0 if self._answered else START_S)
        try:
            assert process.stdin is not None
            process.stdin.write(len(text).to_bytes(4) + text)
            await process.stdin.drain()
            async with Timeout(loop.time() + wait_s):
                told = await answer
        except (OSError, TimeoutError) as error:
            await self.close()  # it hangs where no signal reaches it, or is gone
            raise RuntimeUnavailable("python", f"apart: {error or 'no answer'}") from None
        finally:
            self._waiting.pop(number, None)
        return judge(outcome_of("python", told, str(told.get("build", ""))))

    async def close(self) -> None:
        """End the process; who waits gets RuntimeUnavailable."""
        process, self._process = self._process, None
        if self._reader is not None:
            self._reader.cancel()
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        self._lose()

    async def _running(self) -> asyncio.subprocess.Process:
        builds = self._here.builds()
        if self._process is not None and self._process.returncode is None:
            if builds == self._builds:
                return self._process
            await self.close()
        self._builds, self._answered = builds, False
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bridge.runtimes.python_child"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self._reader = asyncio.create_task(self._read(self._process))
        return self._process

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        try:
            while True:
                size = int.from_bytes(await process.stdout.readexactly(4))
                if size > MAX_ANSWER_BYTES:
                    break
                told = orjson.loads(await process.stdout.readexactly(size))
                self._answered = True
                answer = self._waiting.get(told["id"])
                if answer is not None and not answer.done():
                    answer.set_result(told)
        except (asyncio.IncompleteReadError, OSError, ValueError):
            pass
        self._lose()

    def _lose(self) -> None:
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(RuntimeUnavailable("python", "apart: the process ended"))
