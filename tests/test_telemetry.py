"""What is logged of what happened."""

from __future__ import annotations

import ast
import logging
import re
from itertools import chain

import pytest

from bridge.contracts.files import ROOT
from bridge.telemetry import QUIET, Telemetry, log_to


def test_what_a_client_sent_begins_no_line_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bridge")
    telemetry = Telemetry()
    telemetry.attach(log_to(logging.getLogger("bridge")))
    telemetry.emit("quarantined", code="invalid_number", text="/a\n\x1b[31mforged: é")
    assert caplog.messages == ["quarantined code=invalid_number text=/a��[31mforged: é"]


PAGE = (ROOT / "docs/telemetry.md").read_text(encoding="utf-8")


def emitted() -> set[str]:
    """Find the names of all events in the sources, those that are put together included."""
    names: set[str] = set()
    for path in (ROOT / "bridge").rglob("*.py"):
        if "subsystems" in path.parts:  # what handlers emit are events of another kind
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            function = ast.unparse(call.func).rpartition(".")[2]
            texts = list(chain.from_iterable(map(texts_of, call.args)))
            if function in ("emit", "_emit", "_back_off"):
                names.update(texts_of(call.args[0]))
            elif function in ("Outage", "Pusher"):
                names.update(f"{text}_{what}" for text in texts for what in ("away", "back"))
    return names


def texts_of(node: ast.expr) -> list[str]:
    """Return what an argument may be, as far as it is written out."""
    if isinstance(node, ast.IfExp):
        return texts_of(node.body) + texts_of(node.orelse)
    return [node.value] if isinstance(node, ast.Constant) and type(node.value) is str else []


def test_every_event_of_a_worker_is_on_the_page() -> None:
    page, node = PAGE.split("## The node")
    named = set(re.findall(r"^\| (.+?) \|", page, re.MULTILINE))
    events = {name for cell in named for name in re.findall(r"`([a-z_<>]+)`", cell)}
    outages = set(re.findall(r"`([a-z_]+)`", page.rpartition("how many attempts:")[2]))
    events -= {"<what>_away", "<what>_back"}
    events |= {f"{name}_{what}" for name in outages for what in ("away", "back")}
    assert emitted() == events
    source = (ROOT / "elixir_node/apps/bridge/lib/bridge/telemetry.ex").read_text()
    facts = source.partition("defp describe(")[2].partition("  defp ")[0]
    of_node = {
        name
        for row in re.findall(r"^\| (.+?) \|", node, re.MULTILINE)
        for name in re.findall(r"`([a-z_]+)`", row)
    }
    sources = (ROOT / "elixir_node/apps").rglob("lib/**/*.ex")
    told = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    assert set(re.findall(r"^      :(\w+) ->", facts, re.MULTILINE)) == of_node
    assert set(re.findall(r"Telemetry\.emit\(:(\w+)", told)) == of_node


def test_quiet_events_are_marked_on_the_page() -> None:
    assert set(re.findall(r"\*`([a-z_]+)`\*", PAGE)) == QUIET
