"""The outlet's setting."""

from __future__ import annotations

import pytest

from bridge.joelclaw.outlet.outlet import Outlet, outlet_of
from bridge.settings import BadSetting, Settings

URL = "redis://127.0.0.1:1"


def settings(outlet: str, joelclaw: str = URL) -> Settings:
    return Settings(outlet=outlet, joelclaw_redis_url=joelclaw)


def test_the_kinds_of_outlet_are_read() -> None:
    assert outlet_of(settings("")) is None
    assert outlet_of(settings("serve", joelclaw="")) == Outlet("serve")
    assert outlet_of(settings("topic", joelclaw="")) == Outlet("topic")
    assert outlet_of(settings("session:agent:main")) == Outlet("session", "agent:main")


@pytest.mark.parametrize(
    ("outlet", "said"),
    [
        ("session:gateway", "the bridge itself takes what is in joelclaw:events:gateway"),
        ("session:main", "the bridge itself takes what is in joelclaw:events:main"),
        ("session:pid-4711", "sessions named pid-…"),
        ("session:pid-12a", "sessions named pid-…"),
        ("session:pid-", "sessions named pid-…"),
        ("session:batch", "the daemon's batch"),
        ("session:", "expected the id of a session"),
        ("session:a b", "expected the id of a session"),
        ("session", "expected the id of a session"),
        ("serve:x", "expected session:<id>, serve or topic, got 'serve:x'"),
        ("topic:", "expected session:<id>, serve or topic, got 'topic:'"),
        ("telegram", "expected session:<id>, serve or topic, got 'telegram'"),
    ],
)
def test_what_cannot_be_an_outlet_is_refused(outlet: str, said: str) -> None:
    with pytest.raises(BadSetting, match=r"^BRIDGE_OUTLET: ") as refused:
        outlet_of(settings(outlet))
    assert said in str(refused.value)


@pytest.mark.parametrize("session", ["pid", "pida", "PID-1", "a-pid-1"])
def test_a_session_that_only_looks_like_a_process_may_be_an_outlet(session: str) -> None:
    assert outlet_of(settings(f"session:{session}")) == Outlet("session", session)


def test_a_session_needs_joelclaws_redis() -> None:
    with pytest.raises(BadSetting, match="set BRIDGE_JOELCLAW_REDIS_URL"):
        outlet_of(settings("session:a", joelclaw=""))
