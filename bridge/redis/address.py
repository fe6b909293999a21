"""Where a Redis is, as a URL says it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

SCHEMES = ("redis", "rediss", "unix")


@dataclass(frozen=True, slots=True)
class Tls:
    """Whom to trust, and who we are: paths of PEM files, '' for the system's and for nobody."""

    authorities: str = ""
    certificate: str = ""
    key: str = ""

    def context(self) -> ssl.SSLContext:
        """Return what checks the server's certificate and its name. Raises OSError."""
        context = ssl.create_default_context(cafile=self.authorities or None)
        if self.certificate:
            context.load_cert_chain(self.certificate, self.key or None)
        return context


@dataclass(frozen=True, slots=True)
class Address:
    """One server: `redis://`, `rediss://` (TLS) or `unix://`.

    Its parameters are redis-py's: `ssl_ca_certs`, `ssl_certfile` and `ssl_keyfile`, PEM files.
    """

    host: str
    port: int
    path: str
    username: str
    password: str
    database: int
    tls: Tls | None

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read a URL; raises ValueError naming what was expected."""
        parts = urlsplit(url)
        if parts.scheme not in SCHEMES:
            raise ValueError(
                "Redis URL: expected redis://HOST:PORT, rediss:// or unix://, "
                f"got {parts.scheme!r}"
            )
        options = {name: found[-1] for name, found in parse_qs(parts.query).items()}
        local = parts.scheme == "unix"
        number = options.get("db", "0" if local else parts.path.strip("/") or "0")
        if not (number.isascii() and number.isdecimal()):
            raise ValueError(f"Redis URL: expected a database number, got {number!r}")
        return cls(
            host=parts.hostname or "localhost",
            port=parts.port or 6379,
            path=unquote(parts.path) if local else "",
            username=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            database=int(number),
            tls=_tls(options) if parts.scheme == "rediss" else None,
        )

    def __str__(self) -> str:
        """Name the server without its password."""
        return f"unix:{self.path}" if self.path else f"{self.host}:{self.port}"


def _tls(options: dict[str, str]) -> Tls:
    if options.get("ssl_cert_reqs", "required") != "required":
        raise ValueError("Redis URL: certificates are always checked, leave ssl_cert_reqs out")
    return Tls(
        options.get("ssl_ca_certs", ""),
        options.get("ssl_certfile", ""),
        options.get("ssl_keyfile", ""),
    )
