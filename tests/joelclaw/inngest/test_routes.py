"""BRIDGE_INNGEST_URL and BRIDGE_INNGEST_ROUTES, before anything runs."""

from __future__ import annotations

import pytest

from bridge.contracts.registry import Registry
from bridge.joelclaw.inngest.routes import Target, check_url, parse_routes
from bridge.settings import BadSetting
from tests.running import SUBSYSTEMS

REGISTRY = Registry.load(SUBSYSTEMS / "counter")


def test_routes_are_read_and_written_back() -> None:
    text = " system/heartbeat.wake = counter:a:b/c/add,,x=counter:k/once, "
    routes = parse_routes(text.replace(" = ", "="), REGISTRY)
    assert routes == {
        "system/heartbeat.wake": Target("counter", "a:b/c", "add"),
        "x": Target("counter", "k", "once"),
    }
    assert str(routes["x"]) == "counter:k/once"
    assert parse_routes("", REGISTRY) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a", "expected name=subsystem:key/operation, got 'a'"),
        ("a=", "expected name=subsystem:key/operation, got 'a='"),
        ("=counter:k/add", "expected name=subsystem:key/operation"),
        ("a=counter/add", "expected name=subsystem:key/operation"),
        ("a=counter:/add", "expected name=subsystem:key/operation"),
        ("a=counter:k", "expected name=subsystem:key/operation"),
        ("a=counter:k/", "expected name=subsystem:key/operation"),
        ("a=counter:k/add,a=counter:l/add", "a has two routes, counter:k/add and counter:l/add"),
        ("a=nobody:k/add", "no subsystem 'nobody', expected one of counter"),
        ("a=counter:k/subtract", "has no operation 'subtract', expected one of add"),
        ("a=counter:k/add_later", "has no operation 'add_later'"),
        ("a=counter:k/total", "expected a command, total is a query"),
        (f"a=counter:{'k' * 201}/add", "expected a key of 1 to 200 characters"),
    ],
)
def test_a_route_that_cannot_work_is_a_bad_setting(text: str, said: str) -> None:
    with pytest.raises(BadSetting) as bad:
        parse_routes(text, REGISTRY)
    assert str(bad.value).startswith("BRIDGE_INNGEST_ROUTES: ")
    assert said in str(bad.value)


@pytest.mark.parametrize("url", ["", "localhost:8288", "ftp://x", "http://", "http://h:99999"])
def test_a_url_that_is_none_is_a_bad_setting(url: str) -> None:
    with pytest.raises(BadSetting, match="BRIDGE_INNGEST_URL: expected a URL like"):
        check_url(url)


def test_a_password_in_the_url_is_not_shown() -> None:
    assert check_url("https://a:b@inngest.lan:1/x/") == "https://inngest.lan:1/x"
