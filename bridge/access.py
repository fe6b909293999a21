"""Who may connect: exposure, Host, Origin, token. No I/O here."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from bridge.errors import BridgeError
from bridge.settings import BadSetting, Settings

SUBPROTOCOL = "phoenix"
MAX_PARAMETERS = 100
TOKEN_SUBPROTOCOL = "base64url.bearer.phx."  # phoenix.js, AUTH_TOKEN_PREFIX


class AccessRefused(Exception):
    """A connection or call that is turned away before it begins."""

    def __init__(
        self, status: int, error: BridgeError, headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        super().__init__(error.message)
        self.status = status
        self.error = error
        self.headers = headers


@dataclass(frozen=True, slots=True)
class Caller:
    """What a request says about who sent it."""

    host: str
    origin: str
    authorization: str
    params: Mapping[str, str]
    subprotocols: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        headers: Iterable[tuple[bytes, bytes]],
        query: bytes,
        subprotocols: Iterable[str] = (),
    ) -> Caller:
        """Read what came; raises AccessRefused for a query that is none."""
        found = {name: value.decode("latin-1") for name, value in headers}
        return cls(
            found.get(b"host", ""),
            found.get(b"origin", ""),
            found.get(b"authorization", ""),
            params_of(query),
            tuple(subprotocols),
        )


@dataclass(frozen=True, slots=True)
class Gate:
    """Hold callers to the settings."""

    token: str
    loopback: bool
    origins: frozenset[str]
    hosts: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def of(cls, settings: Settings) -> Gate:
        origins = frozenset(
            text.strip().rstrip("/").lower()
            for text in settings.origins.split(",")
            if text.strip()
        )
        hosts = frozenset(urlsplit(origin).netloc for origin in origins)
        return cls(settings.token, is_loopback(settings.host), origins, hosts)

    def check_page(self, caller: Caller) -> None:
        """Refuse other sites' pages: a rebound host name, an origin that is not allowed.

        Browsers send Origin with sockets and with calls across sites; programs send none.
        """
        host = caller.host.lower()
        known = not host or host in self.hosts or is_loopback(_without_port(host))
        if self.loopback and not known:
            raise AccessRefused(
                403,
                BridgeError(
                    "unauthorized",
                    "Host names another machine: list its origin in BRIDGE_ORIGINS",
                    expected="a loopback name",
                    actual=caller.host[:100],
                ),
            )
        origin = caller.origin.lower()
        if origin and origin not in self.origins and _authority(origin) != _full(host, origin):
            raise AccessRefused(
                403,
                BridgeError(
                    "unauthorized",
                    "this Origin is not allowed: list it in BRIDGE_ORIGINS",
                    expected="no Origin, the same host, or one of BRIDGE_ORIGINS",
                    actual=caller.origin[:100],
                ),
            )

    def check_token(self, caller: Caller) -> None:
        """Take the token from the parameter, the Authorization header or the sub-protocol."""
        if not self.token:
            return
        expected = self.token.encode()
        # Every one is compared, so that the time taken tells nothing about which was close.
        matches = [hmac.compare_digest(given, expected) for given in _tokens(caller)]
        if not any(matches):
            raise AccessRefused(
                401,
                BridgeError(
                    "unauthorized",
                    "a token is required: parameter `token`, `Authorization: Bearer` "
                    "or phoenix.js's authToken",
                    actual="a wrong token" if matches else "no token",
                ),
            )


def check_exposure(settings: Settings) -> None:
    """Raise BadSetting for a gateway that others could reach without a token."""
    if not settings.token and not is_loopback(settings.host):
        raise BadSetting(
            f"BRIDGE_HOST={settings.host} can be reached from other machines: set BRIDGE_TOKEN, "
            "or listen on 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Say whether an address or name can only be reached from this machine."""
    if host.lower() in ("localhost", "localhost.") or host.lower().endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def params_of(query: bytes) -> dict[str, str]:
    """Return the parameters of a query string; of one given twice, the last."""
    try:
        pairs = parse_qs(
            query.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_PARAMETERS
        )
    except ValueError:
        raise AccessRefused(
            400,
            BridgeError(
                "limit_exceeded",
                f"a query has up to {MAX_PARAMETERS} parameters",
                limit=MAX_PARAMETERS,
                actual=query.count(b"&") + 1,
            ),
        ) from None
    return {name: values[-1] for name, values in pairs.items()}


def _tokens(caller: Caller) -> list[bytes]:
    given = []
    if "token" in caller.params:
        given.append(caller.params["token"].encode("utf-8", "surrogateescape"))
    scheme, _, credentials = caller.authorization.partition(" ")
    if scheme.lower() == "bearer":
        given.append(credentials.strip().encode("latin-1"))
    for name in caller.subprotocols:
        if name.startswith(TOKEN_SUBPROTOCOL):
            given.append(_from_base64(name.removeprefix(TOKEN_SUBPROTOCOL)))
    return given


def _from_base64(text: str) -> bytes:
    """Read either base64 alphabet without padding: phoenix.js writes btoa() and drops the `=`."""
    try:
        padded = text.translate(str.maketrans("-_", "+/")) + "=" * (-len(text) % 4)
        return base64.b64decode(padded, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0][1:]
    return host.rpartition(":")[0] if ":" in host else host


def _authority(origin: str) -> str:
    try:
        parts = urlsplit(origin)
        return _full(parts.netloc, origin)
    except ValueError:
        return ""


def _full(host: str, origin: str) -> str:
    """Return host:port with the default port of the origin's scheme written out."""
    has_port = ":" in host.rpartition("]")[2]
    port = {"http:": "80", "https:": "443"}.get(origin.partition("//")[0], "")
    return host if has_port or not host else f"{host}:{port}"
