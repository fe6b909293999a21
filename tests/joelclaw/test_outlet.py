"""The outlet's setting, and the text of what is delivered."""

from __future__ import annotations

import pytest

from bridge.contracts.files import BUILT_IN
from bridge.contracts.registry import Registry
from bridge.joelclaw.outlet import Outlet, check_outlet, outlet_of, prompt_of
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
        ("session:pid-4711", "sessions named pid-<number>"),
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


def test_a_session_that_only_looks_like_a_process_may_be_an_outlet() -> None:
    assert outlet_of(settings("session:pid-a1")) == Outlet("session", "pid-a1")


def test_a_session_needs_joelclaws_redis() -> None:
    with pytest.raises(BadSetting, match="set BRIDGE_JOELCLAW_REDIS_URL"):
        outlet_of(settings("session:a", joelclaw=""))


def test_a_topic_needs_its_name_for_itself() -> None:
    built_in = Registry.load(BUILT_IN)
    assert check_outlet(settings("topic"), built_in) == Outlet("topic")
    contract = built_in.get("heartbeat")
    taken = Registry({"outlet": contract}, {})
    with pytest.raises(BadSetting, match="a subsystem outlet: rename it"):
        check_outlet(settings("topic"), taken)
    assert check_outlet(settings("serve"), taken) == Outlet("serve")


def test_a_prompt_is_handed_on_word_for_word() -> None:
    assert prompt_of("triage.prompt", {"prompt": " Look\nat it. "}) == " Look\nat it. "


def test_a_digest_is_a_line_for_each_type_in_order() -> None:
    by_type = {"meeting.analyzed": 1, "discovery.captured": 7}
    payload = {"count": 8, "by_type": by_type, "members": []}
    text = "Digest of 8 events:\n- discovery.captured: 7\n- meeting.analyzed: 1"
    assert prompt_of("triage.digest", payload) == text
    one = {"count": 1, "by_type": {"a": 1}, "members": []}
    assert prompt_of("triage.digest", one) == "Digest of 1 event:\n- a: 1"


@pytest.mark.parametrize("payload", [{}, {"prompt": " \n"}, {"prompt": 7}])
def test_what_has_no_text_is_named_by_its_type(payload: dict[str, object]) -> None:
    assert prompt_of("triage.prompt", payload) == "triage.prompt"
