"""Much work, a portion at a time: the loop never waits for longer than one of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

# A message of somebody else's needs that many turns of the loop until it is answered: read, asked
# for in Redis, answered there, computed. With a portion in each it would wait for all of them.
EVERY = 4


class Turns:
    """Give all who have more to do than a turn of the loop allows a portion each, in rotation.

    One portion, whoever it is for, runs in every fourth turn of the loop: between two of them
    everything else has its turns. A portion says itself how much it does, and should take about
    1 ms.
    """

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], bool]] = deque()
        self._rest = 0  # turns of the loop until the next portion

    def add(self, portion: Callable[[], bool]) -> None:
        """Call `portion` in a later turn, and again in further ones until it returns False."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._run)
        self._waiting.append(portion)

    async def next(self) -> None:
        """Wait for a turn: for a coroutine with much to do."""
        turn = asyncio.get_running_loop().create_future()

        def begin() -> bool:
            if not turn.done():  # else it was cancelled
                turn.set_result(None)
            return False

        self.add(begin)
        await turn

    def _run(self) -> None:
        if self._rest:
            self._rest -= 1
            asyncio.get_running_loop().call_soon(self._run)
            return
        self._rest = EVERY - 1
        portion = self._waiting[0]
        more = False
        try:
            more = portion()
        finally:  # a defect of one leaves the rotation to the others
            self._waiting.popleft()
            if more:
                self._waiting.append(portion)
            if self._waiting:
                asyncio.get_running_loop().call_soon(self._run)
