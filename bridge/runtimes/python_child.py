"""Python handlers in a process of their own: `python -m bridge.runtimes.python_child`.

Reads invocations from standard input and answers on standard output, each a JSON text after its
length in 4 bytes. What handlers print goes to standard error.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from bridge.canonical import normalise
from bridge.contracts import builds
from bridge.contracts.files import BUILT_IN
from bridge.contracts.implementations import LeftOut, folder_of, of_settings, python_handlers
from bridge.contracts.registry import Registry
from bridge.errors import BridgeError, Refusal, RuntimeFault
from bridge.message import JSON, Context, Invocation, Outcome
from bridge.runtimes.python import PythonRuntime
from bridge.settings import Settings, parse


def load(settings: Settings) -> PythonRuntime:
    """Load the handlers as a worker does; what cannot be loaded is not here."""
    left_out: LeftOut = []
    folders = [Path(folder) for folder in settings.contracts.split(":") if folder]
    names = Registry.load(BUILT_IN, *folders, left_out=left_out).names()
    kept = builds.read(Path(settings.builds), "python") if settings.builds else {}
    entries = of_settings(settings, names, left_out)
    handlers = python_handlers(entries, *folder_of(settings), builds=kept, left_out=left_out)
    digests = {name: build.digest for name, build in kept.items()}
    return PythonRuntime(handlers, settings.python_budget_ms, digests)


def main() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    runtime = load(parse(os.environ))
    while (asked := read(sys.stdin.buffer)) is not None:
        write(answers, {"id": asked["id"], **asyncio.run(answer(runtime, asked["invocation"]))})


async def answer(runtime: PythonRuntime, asked: dict[str, Any]) -> dict[str, JSON]:
    """Return the answer as every remote runtime gives it."""
    invocation = Invocation(**{**asked, "context": Context(**asked["context"])})
    try:
        outcome = await runtime.handle(invocation, _sendable)
    except Refusal as refusal:
        detail = {name: value for name, value in refusal.detail.items() if name != "code"}
        return {
            "refused": {"reason": refusal.reason, "message": refusal.message, "detail": detail}
        }
    except RuntimeFault as fault:
        return {"fault": {"kind": fault.kind, "message": fault.message.partition(": ")[2]}}
    except BridgeError as error:
        return {"fault": {"kind": "unknown_subsystem", "message": error.message}}
    told = {"reply": outcome.reply, "effects": outcome.effects, "state": outcome.state}
    return {"ok": told, "build": outcome.build}


def _sendable(outcome: Outcome) -> Outcome:
    try:
        reply, effects, state = normalise([outcome.reply, outcome.effects, outcome.state])
    except BridgeError as error:
        raise RuntimeFault("python", "not_serialisable", error.message) from None
    return Outcome(reply, effects, state, outcome.build)


def read(stream: BinaryIO) -> Any:
    """Return the next text's value, None at the end."""
    head = stream.read(4)
    return orjson.loads(stream.read(int.from_bytes(head))) if len(head) == 4 else None


def write(stream: BinaryIO, value: Any) -> None:
    try:
        text = orjson.dumps(value)
    except TypeError:  # a refusal's detail may be anything
        fault = {"kind": "not_serialisable", "message": "the refusal's detail is no JSON"}
        text = orjson.dumps({"id": value["id"], "fault": fault})
    stream.write(len(text).to_bytes(4) + text)
    stream.flush()


if __name__ == "__main__":
    main()
