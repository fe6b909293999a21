"""Queries that ask the same in one turn of the loop: computed once, answered each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import orjson

from bridge.channels.session import Push
from bridge.errors import BridgeError
from bridge.message import JSON, RuntimeName

Dispatch = Callable[[Push], Coroutine[Any, Any, JSON | BridgeError]]
Start = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
Name = tuple[str, str, bytes, RuntimeName | None]


class Asker(Protocol):
    """Who is told the answer; `Socket` is one."""

    def answer(self, push: Push, answer: JSON | BridgeError) -> None: ...


class Queries:
    """Share one dispatch among queries with the same topic, operation, request and runtime.

    Handlers are functions of what they are given, and a query is joined only until its dispatch
    begins: it sees every commit that was acknowledged before any of them came. One that brings
    a message id, which its handler is given, is dispatched alone.
    """

    def __init__(self, dispatch: Dispatch, start: Start) -> None:
        self._dispatch = dispatch
        self._start = start
        self._open: dict[Name, list[tuple[Asker, Push]]] = {}

    def ask(self, asker: Asker, push: Push) -> None:
        if push.message_id:
            self._start(self._run([(asker, push)]))
            return
        request = orjson.dumps(push.request)
        name = (push.channel.topic, push.operation, request, push.runtime)
        asking = self._open.get(name)
        if asking is None:
            self._open[name] = [(asker, push)]
            self._start(self._run_shared(name))
        else:
            asking.append((asker, push))

    async def _run_shared(self, name: Name) -> None:
        await self._run(self._open.pop(name))

    async def _run(self, asking: list[tuple[Asker, Push]]) -> None:
        answer = await self._dispatch(asking[0][1])
        for asker, push in asking:
            asker.answer(push, answer)
