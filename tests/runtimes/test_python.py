"""What a crash of a handler in this process tells; the rest is in tests/test_dispatch.py."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from bridge.errors import RuntimeFault
from bridge.message import Invocation, context_for
from bridge.runtimes.python import PythonRuntime

CONTEXT = context_for("m", 0, 1000, "UTC", "key")
ASKED = Invocation("a", "key", "do", "command", {}, {}, CONTEXT, "digest", 1000)


def crash_of(handler: Any) -> str:
    with pytest.raises(RuntimeFault) as caught:
        asyncio.run(PythonRuntime({"a": handler}, 250).handle(ASKED))
    assert caught.value.kind == "crashed"
    return caught.value.message


def test_a_crash_names_the_line_of_the_handlers_own_file() -> None:
    def handle(*_: object) -> Any:
        return json.loads("{")

    message = crash_of(handle)
    assert message.startswith("python: a.do raised JSONDecodeError: ")
    assert message.endswith(f" (test_python.py:{handle.__code__.co_firstlineno + 1})")


def test_what_is_no_handler_at_all_crashes_without_a_line() -> None:
    assert crash_of(lambda: None).endswith(" takes 0 positional arguments but 4 were given")
