"""What the commands say of the intake and of the outlet, and when they warn."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.cli.findings import of_intake, of_outlet, outlet_in
from bridge.joelclaw.intake.takeover import IntakeStatus
from bridge.joelclaw.outlet.adapter import OutletStatus

OTHERS = ["127.0.0.1:5 daemon, connected for 7 s"]
OUTLET: dict[str, Any] = {
    "kind": "serve",
    "deliveries": 2,
    "oldest_ms": 1,
    "receiver": True,
    "failing": "",
    "warning": "",
}


def intake(
    state: str, holder: str | None = None, others: list[str] | None = None, echoes: int = 0
) -> Any:
    status = IntakeStatus(state, 1_800_000_000_123, holder, 3, 4, 5, others or [], echoes)
    return {finding.what: finding for finding in of_intake(status)}


def test_a_taken_intake_is_told_with_its_numbers() -> None:
    found = intake("taken", "w-1")
    assert {what: finding.found for what, finding in found.items()} == {
        "intake": "the bridge takes the events since 2027-01-15 08:00:00.123",
        "holder": "w-1",
        "in flight": "3",
        "waiting": "4 for gateway, 5 for main",
        "listeners": "none but the bridge",
    }
    assert not any(finding.warning for finding in found.values())


@pytest.mark.parametrize("state", ["free", "releasing"])
def test_while_the_bridge_does_not_take_nobody_is_warned_of(state: str) -> None:
    found = intake(state, others=OTHERS)
    assert "since" not in found["intake"].found
    assert not any(finding.warning for finding in found.values())


def test_echoes_are_told_of_once_there_are_some() -> None:
    assert "echoes" not in intake("taken")
    assert intake("taken", echoes=2)["echoes"].found == (
        "2 events whose source begins with bridge/ were dropped as the bridge's own"
    )


def test_a_second_consumer_and_a_missing_holder_are_warned_of() -> None:
    found = intake("taken", others=OTHERS)
    warning = "no worker takes them: is the bridge running, with BRIDGE_OUTLET?"
    assert found["holder"].warning == warning
    assert found["listeners"].found == OTHERS[0]
    assert found["listeners"].warning.startswith(
        f"somebody else listens for the gateway's events ({OTHERS[0]}): "
    )


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({}, ""),
        ({"receiver": False}, "nobody receives there"),
        ({"receiver": False, "deliveries": 0}, ""),
        ({"receiver": False, "warning": "not registered"}, "not registered"),
        ({"failing": "m/0, attempt 2 of 8: no", "warning": "x"}, "m/0, attempt 2 of 8: no"),
    ],
)
def test_of_an_outlet_the_worst_is_warned_of(changes: dict[str, Any], warning: str) -> None:
    outlet = outlet_in({"joelclaw": {"outlet": {**OUTLET, **changes}}})
    assert outlet == OutletStatus(**{**OUTLET, **changes})
    finding = of_outlet(outlet)
    assert finding.found == f"serve, {outlet.deliveries} not delivered"
    assert finding.warning == warning


def test_without_an_outlet_there_is_nothing_to_say() -> None:
    assert outlet_in({}) is None
    assert outlet_in({"joelclaw": {"ingress": {}}}) is None
