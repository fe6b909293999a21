"""A Redis behind TLS: only one with the right name, of an authority we trust, in its time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from bridge.errors import BridgeError
from bridge.redis.commands import Failures, connect
from bridge.redis.server import check_server
from tests.redis_server import RedisServer, free_port
from tests.running import Up, bridge

YESTERDAY = datetime.now(UTC) - timedelta(days=1)
WRONG = {
    "another name": "not valid for '127.0.0.1'|IP address mismatch",
    "expired": "certificate has expired",
    "an authority nobody knows": "unable to get local issuer certificate|self.signed certificate",
}


class Certificates:
    """An authority, a client's certificate and servers' ones, as PEM files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        ours, other = trustme.CA(), trustme.CA()
        self.authority = self._file("authority", ours.cert_pem)
        self.client = self._chain("client", ours.issue_cert("somebody@example.org"))
        issued = {
            "right": ours.issue_cert("localhost", "127.0.0.1"),
            "another name": ours.issue_cert("redis.example.org"),
            "expired": ours.issue_cert("127.0.0.1", not_after=YESTERDAY),
            "an authority nobody knows": other.issue_cert("127.0.0.1"),
        }
        self.servers = {name: self._chain(name, cert) for name, cert in issued.items()}

    def _file(self, name: str, *blobs: trustme.Blob) -> str:
        path = self._folder / f"{name}.pem"
        path.write_bytes(b"".join(blob.bytes() for blob in blobs))
        return str(path)

    def _chain(self, name: str, cert: trustme.LeafCert) -> str:
        return self._file(name, cert.private_key_pem, *cert.cert_chain_pems)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


class TlsServer(RedisServer):
    def __init__(self, certificates: Certificates, name: str, clients: str = "no") -> None:
        self.tls_port = free_port()
        chain, authority = certificates.servers[name], certificates.authority
        settings: dict[str, Any] = {
            "tls-port": str(self.tls_port),
            "tls-auth-clients": clients,
            "tls-cert-file": chain,
            "tls-key-file": chain,
            "tls-ca-cert-file": authority,
        }
        super().__init__(**settings)
        self.tls_url = f"rediss://127.0.0.1:{self.tls_port}/0?ssl_ca_certs={authority}"


@pytest.fixture(params=WRONG)
def refused(
    request: pytest.FixtureRequest, certificates: Certificates
) -> Iterator[tuple[TlsServer, str]]:
    with TlsServer(certificates, request.param) as server:
        yield server, WRONG[request.param]


def test_a_certificate_that_does_not_hold_is_named(refused: tuple[TlsServer, str]) -> None:
    server, why = refused
    with pytest.raises(BridgeError, match=why) as error:
        asyncio.run(check_server(server.tls_url))
    assert error.value.code == "storage_unavailable"

    async def ask() -> None:
        async with connect(server.tls_url, "test") as client:
            await client.ping()

    with pytest.raises(Failures, match=why):
        asyncio.run(ask())


def test_bridge_up_says_what_is_wrong_with_a_certificate(
    tmp_path: Path, certificates: Certificates
) -> None:
    with TlsServer(certificates, "expired") as server:
        done = bridge(tmp_path / "b", "up", "--check", BRIDGE_REDIS_URL=server.tls_url)
    assert done.returncode == 1
    assert "BRIDGE_REDIS_URL: no answer" in done.stderr
    assert "certificate has expired" in done.stderr


def test_a_client_without_its_certificate_is_refused(certificates: Certificates) -> None:
    with TlsServer(certificates, "right", clients="yes") as server:
        with pytest.raises(BridgeError):
            asyncio.run(check_server(server.tls_url))
        url = f"{server.tls_url}&ssl_certfile={certificates.client}"
        assert asyncio.run(check_server(url)).appendonly


def test_checks_cannot_be_switched_off() -> None:
    with pytest.raises(ValueError, match="certificates are always checked"):
        asyncio.run(check_server("rediss://h/?ssl_cert_reqs=none"))


@pytest.mark.slow
def test_all_that_speaks_to_redis_speaks_tls(tmp_path: Path, certificates: Certificates) -> None:
    with (
        TlsServer(certificates, "right") as server,
        Up(tmp_path / "b", BRIDGE_NODE="off", BRIDGE_REDIS_URL=server.tls_url) as running,
    ):
        assert "typescript  heartbeat" in running.output
        for command in ("status", "doctor", "storage", "quarantine"):
            done = bridge(running.directory, command)
            assert done.returncode == 0, done.stdout + done.stderr
