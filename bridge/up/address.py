"""The address the bridge listens on."""

from __future__ import annotations

import errno
import ipaddress
import socket

from bridge.edge.listener import bind
from bridge.settings import BadSetting
from bridge.up.place import StartFailed

LAST_PORT = 65535


def check_port(port: int, setting: str = "BRIDGE_PORT") -> None:
    """Raise BadSetting for a number that is no port."""
    if not 0 <= port <= LAST_PORT:
        raise BadSetting(f"{setting}: expected a port from 0 to {LAST_PORT}, got {port}")


def listen(
    host: str, port: int, *, asked: bool, setting: str = "--port or BRIDGE_PORT"
) -> socket.socket:
    """Listen on `port`; if nobody asked for just that one and it is taken, on a free one."""
    for candidate in (port, 0):
        try:
            return bind(host, candidate)
        except OSError as error:
            reason = error
        if asked and reason.errno == errno.EADDRINUSE:
            raise StartFailed(f"port {port} is taken: give another {setting}, 0 takes a free one")
    raise StartFailed(f"cannot listen on {host} ({reason}): set BRIDGE_HOST to an address here")


def url_of(host: str, port: int) -> str:
    """Return the address by which a client on this machine reaches the bridge."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"http://{host}:{port}"
    if address.version == 6:
        return f"http://[{'::1' if address.is_unspecified else host}]:{port}"
    return f"http://{'127.0.0.1' if address.is_unspecified else host}:{port}"
