"""What is logged of what happened."""

from __future__ import annotations

import logging

import pytest

from bridge.telemetry import Telemetry, log_to


def test_what_a_client_sent_begins_no_line_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bridge")
    telemetry = Telemetry()
    telemetry.attach(log_to(logging.getLogger("bridge")))
    telemetry.emit("quarantined", code="invalid_number", text="/a\n\x1b[31mforged: é")
    assert caplog.messages == ["quarantined code=invalid_number text=/a��[31mforged: é"]
