"""joelclaw's sessions, by name: the keys of their lists and doorbells. No I/O here."""

from __future__ import annotations

SESSIONS = "joelclaw:gateway:sessions"  # set: who is registered
SESSION = "gateway"  # whose events the bridge answers, once it has taken over
OWNED = (SESSION, "main")  # whose lists it then takes from
INTAKE = "joelclaw:bridge:intake"  # hash: state, since_ms, items
BATCH = "batch"  # no session: the daemon keeps its batch in a list that is named like one


def list_of(session: str) -> str:
    return f"joelclaw:events:{session}"


def doorbell_of(session: str) -> str:
    return f"joelclaw:notify:{session}"


def refused_session(session: str) -> str:
    """Say why nothing may be pushed to a session of this name, "" if something may."""
    if not session or not session.isprintable() or " " in session:
        return "expected the id of a session"
    if session.startswith("pid-"):
        return (
            "joelclaw deletes the lists of sessions named pid-… when it finds no such process "
            "on its own machine"
        )
    if session == BATCH:
        return f"{list_of(session)} is the daemon's batch, no session's list"
    return ""
