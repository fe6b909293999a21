"""Who may connect: exposure, Host, Origin, token."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from bridge.access import AccessRefused, Caller, Gate, check_exposure, is_loopback
from bridge.settings import BadSetting, Settings


def caller(**given: Any) -> Caller:
    return Caller(
        **{"host": "localhost:4100", "origin": "", "authorization": "", "params": {}, **given}
    )


def gate(**given: Any) -> Gate:
    return Gate.of(Settings(**given))


def token_of(text: str) -> str:
    return "base64url.bearer.phx." + text.rstrip("=")


def test_a_gateway_beyond_loopback_needs_a_token() -> None:
    with pytest.raises(BadSetting, match="BRIDGE_TOKEN"):
        check_exposure(Settings(host="0.0.0.0"))
    check_exposure(Settings(host="0.0.0.0", token="secret"))
    check_exposure(Settings(host="127.0.0.1"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_loopback_is_recognised(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.1", "example.com", "127.evil.com"])
def test_other_addresses_are_not_loopback(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "given",
    [
        {"params": {"token": "s+/é"}},
        {"authorization": "Bearer s+/é".encode().decode("latin-1")},
        {"subprotocols": ("phoenix", token_of(base64.b64encode("s+/é".encode()).decode()))},
        {"subprotocols": (token_of(base64.urlsafe_b64encode("s+/é".encode()).decode()),)},
    ],
)
def test_the_token_is_taken_from_each_place(given: dict[str, Any]) -> None:
    gate(token="s+/é").check_token(caller(**given))


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"params": {"token": ""}},
        {"params": {"token": "secre"}},
        {"authorization": "Basic secret"},
        {"authorization": "secret"},
        {"subprotocols": ("phoenix", "secret")},
        {"subprotocols": ("base64url.bearer.phx.***",)},
    ],
)
def test_without_the_token_nobody_passes(given: dict[str, Any]) -> None:
    with pytest.raises(AccessRefused) as refused:
        gate(token="secret").check_token(caller(**given))
    assert (refused.value.status, refused.value.error.code) == (401, "unauthorized")
    assert "secret" not in str(refused.value.error.response())


@pytest.mark.parametrize(
    ("settings", "host", "origin"),
    [
        ({}, "localhost:4100", ""),
        ({}, "localhost:4100", "http://localhost:4100"),
        ({}, "LOCALHOST:4100", "http://localhost:4100"),
        ({}, "[::1]:4100", "http://[::1]:4100"),
        ({}, "127.0.0.1", "http://127.0.0.1"),
        (
            {"origins": "https://app.example, http://b:1/"},
            "localhost:4100",
            "https://app.example",
        ),
        ({"origins": "https://app.example, http://b:1/"}, "localhost:4100", "http://b:1"),
        ({"origins": "https://app.example"}, "app.example", "https://app.example"),
        ({"host": "0.0.0.0", "token": "t"}, "bridge.lan:4100", ""),
        ({"host": "0.0.0.0", "token": "t"}, "bridge.lan", "https://bridge.lan"),
        ({"host": "0.0.0.0", "token": "t"}, "bridge.lan:443", "https://bridge.lan"),
    ],
)
def test_the_same_host_and_listed_origins_pass(
    settings: dict[str, str], host: str, origin: str
) -> None:
    gate(**settings).check_page(caller(host=host, origin=origin))


@pytest.mark.parametrize(
    ("settings", "host", "origin"),
    [
        ({}, "localhost:4100", "http://evil.example"),
        ({}, "localhost:4100", "http://localhost:9999"),
        ({}, "localhost:4100", "http://localhost"),
        ({}, "localhost:4100", "null"),
        ({}, "localhost:4100", "http://[bad"),
        ({}, "evil.example:4100", ""),
        ({}, "evil.example:4100", "http://evil.example:4100"),
        ({"origins": "https://app.example"}, "localhost:4100", "http://app.example"),
        ({"host": "0.0.0.0", "token": "t"}, "bridge.lan:4100", "http://bridge.lan:8080"),
    ],
)
def test_pages_of_other_sites_are_refused(
    settings: dict[str, str], host: str, origin: str
) -> None:
    with pytest.raises(AccessRefused) as refused:
        gate(**settings).check_page(caller(host=host, origin=origin))
    assert (refused.value.status, refused.value.error.code) == (403, "unauthorized")
