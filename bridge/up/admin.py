"""What the running bridge says of itself, and what it is told: /health and /admin."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

from bridge.client import ErrorReply, NotReached
from bridge.message import JSON

TIMEOUT_S = 3.0


def put(url: str, token: str, body: JSON) -> JSON:
    """Send JSON to an address of the bridge and return its answer.

    Raises ErrorReply for what it refuses, NotReached.
    """
    request = urllib.request.Request(url, json.dumps(body).encode(), method="PUT")
    return _answer(request, token)


def fetch(url: str, token: str = "") -> JSON:
    """Return the JSON body behind an address of the bridge; raises NotReached."""
    try:
        return _answer(urllib.request.Request(url), token)
    except ErrorReply as refused:
        raise NotReached(f"{url}: {refused.response['message']}") from None


def ask(url: str, token: str, timeout_s: float) -> JSON:
    """Return the JSON body behind an address, however long that takes.

    Raises ErrorReply for what it refuses, NotReached.
    """
    return _answer(urllib.request.Request(url), token, timeout_s)


def _answer(request: urllib.request.Request, token: str, timeout_s: float = TIMEOUT_S) -> JSON:
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    # No proxy: the bridge is on this machine, whatever the environment says of the web.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout_s) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as refused:
        raise _refusal(refused) from None
    except (OSError, ValueError) as error:
        raise NotReached(f"{request.full_url}: {error}") from None


def _refusal(refused: urllib.error.HTTPError) -> Exception:
    try:
        response = json.load(refused)
    except (OSError, ValueError):
        response = None
    if isinstance(response, dict) and "message" in response:
        if refused.code < 500:
            return ErrorReply(response)
        return NotReached(f"{refused.url}: {response['message']}")
    return NotReached(f"{refused.url}: {refused}")


def served_by(status: JSON, runtime: str) -> set[str] | None:
    """Return the subsystems a runtime can be reached for, None if the bridge does not tell."""
    try:
        return {name for name, there in status["runtimes"][runtime].items() if there}
    except (KeyError, TypeError, AttributeError):
        return None


def loaded_by(status: JSON) -> set[str] | None:
    """Return the subsystems whose contract is loaded, None if the bridge does not tell."""
    try:
        return {name for served in status["runtimes"].values() for name in served}
    except (KeyError, TypeError, AttributeError):
        return None
