"""What the settings want of joelclaw, checked in one place."""

from __future__ import annotations

import pytest

from bridge.contracts.files import BUILT_IN
from bridge.contracts.registry import Registry
from bridge.joelclaw.inngest.routes import Target
from bridge.joelclaw.outlet.outlet import Outlet
from bridge.joelclaw.terminal.topic import Topic
from bridge.joelclaw.wanted import Wanted, check_joelclaw
from bridge.settings import BadSetting, Settings
from tests.running import SUBSYSTEMS

REGISTRY = Registry.load(BUILT_IN, SUBSYSTEMS)


def test_nothing_is_wanted_unless_it_is_set() -> None:
    assert check_joelclaw(Settings(), REGISTRY) == Wanted({}, None, None)


def test_all_that_is_set_is_read() -> None:
    settings = Settings(
        inngest_url="http://h",
        inngest_routes="a=counter:k/add",
        terminal_port=3018,
        outlet="topic",
    )
    assert check_joelclaw(settings, REGISTRY) == Wanted(
        {"a": Target("counter", "k", "add")}, Topic("terminal", "main"), Outlet("topic")
    )


@pytest.mark.parametrize(
    "bad",
    [
        Settings(inngest_url="h"),
        Settings(inngest_routes="a"),
        Settings(terminal_port=70000),
        Settings(outlet="telegram"),
        Settings(joelclaw_redis_url="127.0.0.1:6379"),
        Settings(joelclaw_redis_url="http://127.0.0.1"),
        Settings(joelclaw_redis_url="redis://127.0.0.1:port"),
        Settings(joelclaw_redis_url="redis://127.0.0.1/zero"),
        Settings(joelclaw_redis_url="redis://127.0.0.1?colour=red"),
    ],
)
def test_each_setting_that_cannot_work_is_refused(bad: Settings) -> None:
    with pytest.raises(BadSetting):
        check_joelclaw(bad, REGISTRY)
