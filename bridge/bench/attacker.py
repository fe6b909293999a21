"""The hostile client of `bridge bench hostile`, in a process of its own.

`python -m bridge.bench.attacker NAME WHERE` (a port, or a socket's path): a few connections do
the same at once, and connect again when they are closed, until the process is killed. Four times
a second it says how many bytes it wrote so far, and in how many seconds.

It runs at the lowest priority: on a machine of its own it would take no processor from the worker
and from those whose answers are measured.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import cast

import uvloop

from bridge.bench.attacks import ATTACKS, Attack

AGAIN_S = 0.01
SAY_S = 0.25
TURN_BYTES = 262_144


class Attacker(asyncio.Protocol):
    """Write as fast as the peer takes it; `sent` are the bytes of all."""

    sent = 0

    def __init__(self, attack: Attack) -> None:
        self.closed = asyncio.get_running_loop().create_future()
        self._attack = attack
        self._pieces = attack.pieces()
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        if not self._attack.reads:
            self._transport.pause_reading()
        opening = self._attack.opening()
        self._transport.write(opening)
        Attacker.sent += len(opening)
        self._write()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._write()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    def _write(self) -> None:
        """Write until the peer takes no more; what happened to others is looked at in between."""
        written = 0
        while not (self._paused or self._transport.is_closing() or self.closed.done()):
            piece = next(self._pieces, None)
            if piece is None:
                return
            self._transport.write(piece)
            Attacker.sent += len(piece)
            written += len(piece)
            if written > TURN_BYTES:
                asyncio.get_running_loop().call_soon(self._write)
                return


async def keep_attacking(attack: Attack, address: str | int) -> None:
    loop = asyncio.get_running_loop()

    def attacker() -> Attacker:
        return Attacker(attack)

    while True:
        try:
            if isinstance(address, int):
                _, made = await loop.create_connection(attacker, "127.0.0.1", address)
            else:
                _, made = await loop.create_unix_connection(attacker, address)
            await made.closed
        except OSError:
            pass
        await asyncio.sleep(AGAIN_S)


async def say() -> None:
    started = time.monotonic()
    while True:
        await asyncio.sleep(SAY_S)
        print(Attacker.sent, time.monotonic() - started, flush=True)


async def main(name: str, where: str) -> None:
    os.nice(19)
    attack = ATTACKS[name]
    address = int(where) if where.isdecimal() else where
    attackers = (keep_attacking(attack, address) for _ in range(attack.connections))
    await asyncio.gather(say(), *attackers)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
