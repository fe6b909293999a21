"""Which topics can answer a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.contracts.files import BUILT_IN
from bridge.contracts.registry import Registry
from bridge.joelclaw.terminal.topic import check_terminal
from bridge.settings import BadSetting, Settings
from tests.running import SUBSYSTEMS

REGISTRY = Registry.load(BUILT_IN, SUBSYSTEMS)


def test_without_a_port_there_is_no_terminal() -> None:
    assert check_terminal(Settings(terminal="nonsense"), REGISTRY) is None


def test_the_built_in_relay_is_the_default() -> None:
    topic = check_terminal(Settings(terminal_port=3018), REGISTRY)
    assert topic == ("terminal", "main")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"terminal_port": 70000}, "BRIDGE_TERMINAL_PORT: expected a port, got 70000"),
        ({"terminal": "terminal"}, "BRIDGE_TERMINAL=terminal: expected `subsystem:key`"),
        ({"terminal": "terminal:"}, "expected a key of 1 to 200 characters"),
        ({"terminal": "nobody:main"}, "no subsystem 'nobody'"),
        (
            {"terminal": "heartbeat:main"},
            "BRIDGE_TERMINAL=heartbeat:main: expected command prompt that takes "
            "{'text': 'hello'}, got heartbeat has no operation 'prompt'",
        ),
        ({"terminal": "counter:main"}, "counter has no operation 'prompt'"),
    ],
)
def test_a_topic_that_cannot_answer_a_terminal_stops_the_start(
    changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(BadSetting) as refused:
        check_terminal(Settings(**{"terminal_port": 3018, **changes}), REGISTRY)
    assert told in str(refused.value)


def changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> Registry:
    """Return a registry whose echo has another contract."""
    document = json.loads((SUBSYSTEMS / "echo" / "subsystem.json").read_text())
    change(document)
    (folder / "echo").mkdir()
    (folder / "echo" / "subsystem.json").write_text(json.dumps(document))
    return Registry.load(folder)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda d: d["operations"]["prompt"].update(request={"$ref": "#/$defs/Nothing"}),
            "breaks additionalProperties",
        ),
        (
            lambda d: d["operations"]["status"].update(kind="command"),
            "expected query status that takes {}, got a command",
        ),
        (
            lambda d: d["operations"]["abort"].update(internal=True),
            "echo has no operation 'abort'",
        ),
        (
            lambda d: d["events"].pop("terminal.turn_end"),
            "expected event terminal.turn_end with payload {}, got none",
        ),
        (
            lambda d: d["events"].update({"terminal.text_delta": {"$ref": "#/$defs/Nothing"}}),
            "expected event terminal.text_delta with payload {'delta': 'hello'}",
        ),
    ],
)
def test_a_contract_that_falls_short_is_named_with_what_is_expected(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], told: str
) -> None:
    registry = changed(tmp_path, change)
    with pytest.raises(BadSetting) as refused:
        check_terminal(Settings(terminal_port=3018, terminal="echo:main"), registry)
    assert told in str(refused.value)
