"""What the running bridge says of itself: GET /health and /admin/status."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

from bridge.client import NotReached
from bridge.message import JSON

TIMEOUT_S = 3.0


def fetch(url: str, token: str = "") -> JSON:
    """Return the JSON body behind an address of the bridge; raises NotReached."""
    request = urllib.request.Request(url)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    # No proxy: the bridge is on this machine, whatever the environment says of the web.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT_S) as answer:
            return json.load(answer)
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise NotReached(f"{url}: {error}") from None


def served_by(status: JSON, runtime: str) -> set[str] | None:
    """Return the subsystems a runtime can be reached for, None if the bridge does not tell."""
    try:
        return {name for name, there in status["runtimes"][runtime].items() if there}
    except (KeyError, TypeError, AttributeError):
        return None
