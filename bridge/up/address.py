"""The address the bridge listens on."""

from __future__ import annotations

import ipaddress
import socket

from bridge.settings import BadSetting, Settings
from bridge.up.place import StartFailed

BACKLOG = 1024


def check_exposure(settings: Settings) -> None:
    """Refuse an address beyond loopback without a token; raises BadSetting."""
    if not settings.token and not _is_loopback(settings.host):
        raise BadSetting(
            f"BRIDGE_HOST: {settings.host} can be reached by others, so BRIDGE_TOKEN is"
            " required; or leave BRIDGE_HOST at 127.0.0.1"
        )


def listen(host: str, port: int) -> socket.socket:
    """Listen on `port`, or on a free one if it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in (port, 0):
        try:
            return socket.create_server((host, candidate), family=family, backlog=BACKLOG)
        except OSError as error:
            reason = error
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


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
