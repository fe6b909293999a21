"""Gateway workers: through the Elixir node, or by themselves when it is not there."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from bridge.up.listener import Listener, RequestFailed
from bridge.up.supervisor import Child, Program

STAND_IN_AFTER_S = 3.0  # without any worker, once there was one
NODE_START_S = 15.0  # for the first worker of a node
LOOK_S = 0.25


class Workers:
    """Keep at least one worker on the listener, and end all of them at the end.

    A node starts its workers itself, and adopts those of the one before it. While none is there
    (the node fails to start, or died and its last orphan too) a stand-in runs, until another
    worker is ready. Whoever says nothing for `silent_s` is killed and replaced; that is counted
    in turns of our own loop, as a pause of this process is nobody's silence.
    """

    def __init__(
        self,
        listener: Listener,
        worker: Program,
        count: int,
        node: Program | None,
        silent_s: float,
        *,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._listener = listener
        self._stand_in_program = replace(worker, name="stand-in")
        self._silent_s = silent_s
        self._changed = changed
        self._stand_in: Child | None = None
        self._guard: asyncio.Task[None] | None = None
        self.node = Child(node, changed=changed) if node else None
        self._direct = [
            Child(replace(worker, name=f"worker-{n + 1}"), changed=changed)
            for n in range(0 if node else count)
        ]

    @property
    def children(self) -> list[Child]:
        """Every process started here: the node, else workers; a stand-in if there is one."""
        some = [self.node, *self._direct, self._stand_in]
        return [child for child in some if child is not None]

    async def reload_node(self, subsystem: str, timeout_s: float) -> str:
        """Have the node load a subsystem's code as it runs; raises RequestFailed."""
        pid = self.node.pid if self.node is not None else None
        there = next((n for n in self._listener.nodes if n.pid and n.pid == pid), None)
        if there is None:
            raise RequestFailed("the node is not there now")
        return await there.reload(subsystem, timeout_s)

    def start(self) -> None:
        for child in self.children:
            child.start()
        self._guard = asyncio.create_task(self._look())

    def ready(self) -> bool:
        return any(worker.ready for worker in self._listener.workers)

    async def stop(self, timeout_s: float) -> list[str]:
        """Drain and end them all; return the names of those that had to be killed."""
        if self._guard is not None:
            self._guard.cancel()
        children = self.children
        for child in children:
            if child is self.node:
                child.end_input()  # it answers its workers until they have left
            else:
                child.terminate()
        self._listener.stop_accepting()
        for worker in self._listener.workers:
            worker.dismiss()
        deadline = time.monotonic() + timeout_s
        stubborn: list[str] = []
        for child in children:
            if not await child.wait(max(deadline - time.monotonic(), 0)):
                stubborn.append(child.program.name)
                child.kill()
                await child.wait(None)
        await self._listener.emptied(max(deadline - time.monotonic(), 0))
        stubborn += [f"worker {worker.name}" for worker in self._listener.workers]
        self.kill()
        return stubborn

    def kill(self) -> None:
        """Send SIGKILL to all of them.

        A worker's connection is open, so it lives and its pid is nobody else's.
        """
        for child in self.children:
            child.kill()
        for worker in self._listener.workers:
            if worker.pid:
                with suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGKILL)

    async def _look(self) -> None:
        alone_s, patience_s, unknown_s = 0.0, NODE_START_S, 0.0
        while True:
            await asyncio.sleep(LOOK_S)
            self._end_silent()
            if self.node is None:
                continue
            known = any(node.pid in (0, self.node.pid) for node in self._listener.nodes)
            unknown_s = 0.0 if known or self.node.pid is None else unknown_s + LOOK_S
            if unknown_s > self._silent_s:
                unknown_s = 0.0
                self.node.replace(f"said nothing for {self._silent_s:g} s after its start")
            stand_in = self._stand_in.pid if self._stand_in is not None else None
            others = [w for w in self._listener.workers if w.pid != stand_in]
            alone_s = 0.0 if others else alone_s + LOOK_S
            if others:
                patience_s = STAND_IN_AFTER_S
            elif self._stand_in is None and (alone_s > patience_s or self.node.failures > 1):
                self._stand_in = Child(self._stand_in_program, changed=self._changed)
                self._stand_in.start()
            if self._stand_in is not None and any(w.ready for w in others):
                gone, self._stand_in = self._stand_in, None
                await gone.stop(timeout_s=60)
                self._changed()

    def _end_silent(self) -> None:
        for peer in (*self._listener.workers, *self._listener.nodes):
            peer.silent_s += LOOK_S
            if peer.silent_s <= self._silent_s or not peer.pid:
                continue
            peer.silent_s = 0.0
            child = next((child for child in self.children if child.pid == peer.pid), None)
            if child is not None:
                child.replace(f"said nothing for {self._silent_s:g} s")
            else:
                with suppress(ProcessLookupError):
                    os.kill(peer.pid, signal.SIGKILL)
