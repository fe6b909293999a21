"""Every setting, once: name, default, meaning. Parsed at the rim. No I/O here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any

from bridge.errors import nearest

PREFIX = "BRIDGE_"
# What `bridge up` tells the node, mix and the TypeScript service, and workers find in passing.
INTERNAL = frozenset(
    PREFIX + name
    for name in (
        "NODE_WORKERS",
        "PYTHON",
        "PARENT_STDIN",
        "WORKER_LOG",
        "ALIVE_FILE",
        "ELIXIR_IMPLEMENTATIONS",
        "ELIXIR_SOURCES",
        "WEB",
        "LISTEN_FD",
    )
)


class BadSetting(Exception):
    """A setting that does not parse; the text says what was expected and what came."""


def _setting(default: Any, help: str, *, choices: tuple[str, ...] = (), least: int = 0) -> Any:
    return field(default=default, metadata={"help": help, "choices": choices, "least": least})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The environment variable of a setting is its name in capitals after `BRIDGE_`."""

    dir: str = _setting(".bridge", "where `bridge up` keeps Redis's data, logs and run files")
    host: str = _setting(
        "127.0.0.1", "address the gateway listens on; beyond loopback a token is required"
    )
    port: int = _setting(
        4100, "port the gateway listens on; `bridge up` takes a free one if taken"
    )
    listener: str = _setting(
        "", "Unix socket that hands out the listening socket (set by `bridge up`)"
    )
    token: str = _setting("", "required of sockets and admin calls when set")
    origins: str = _setting("", "allowed Origin headers, comma-separated; empty: same host only")
    redis_url: str = _setting(
        "",
        "Redis to use: `redis://`, `rediss://` (TLS) or `unix://`; empty: `bridge up` starts one",
    )
    redis_unsafe: bool = _setting(
        False, "accept a Redis without append-only file or with eviction"
    )
    appendfsync: str = _setting(
        "always",
        "of the Redis `bridge up` starts; everysec may lose the last second",
        choices=("always", "everysec"),
    )
    workers: int = _setting(2, "gateway workers behind the one address", least=1)
    node: str = _setting(
        "auto",
        "the Elixir node: auto starts it if Elixir is there, external waits for one to connect",
        choices=("auto", "off", "external"),
    )
    phoenix_port: int = _setting(
        4101,
        "port of the Phoenix edge, where the node has its packages; 0: none; `bridge up` takes a "
        "free one if taken",
    )
    typescript: str = _setting(
        "auto",
        "the TypeScript service: auto starts it if Node or Bun is there",
        choices=("auto", "off", "external"),
    )
    silent_ms: int = _setting(
        15_000,
        "kill and replace a worker, node or service of `bridge up` that says nothing for so long",
        least=3000,
    )
    link_dir: str = _setting(
        "", "directory of the workers' link sockets; empty: made by `bridge up`"
    )
    contracts: str = _setting("", "more contract folders, separated by `:`")
    implementations: str = _setting("", "JSON file naming the implementations of those contracts")
    builds: str = _setting(
        "", "directory of what is served, as it was at the start (set by `bridge up`)"
    )
    zone: str = _setting("UTC", "IANA time zone of the context's local date and time")
    inngest_url: str = _setting(
        "", "Inngest to send `inngest` effects to; empty: they are kept and shown"
    )
    inngest_event_key: str = _setting(
        "local", "event key of that Inngest, and of the gateway's own `/e/<key>`"
    )
    inngest_routes: str = _setting(
        "",
        "Inngest events the bridge takes: `name=subsystem:key/operation`, comma-separated; "
        "all others go on to BRIDGE_INNGEST_URL",
    )
    joelclaw_redis_url: str = _setting(
        "", "joelclaw's own Redis; empty: nothing of joelclaw's is touched"
    )
    outlet: str = _setting(
        "",
        "who gets what `triage` decides: `session:<id>`, `serve` (the SDK's `deliver`) or "
        "`topic` (a client that joined `outlet:gateway`)",
    )
    terminal_port: int = _setting(
        0, "port for joelclaw's terminal client (it looks at 3018); 0: none"
    )
    terminal: str = _setting("terminal:main", "topic that answers the terminal client's prompts")
    max_frame_bytes: int = _setting(
        1_048_576, "largest WebSocket frame taken from a client", least=1024
    )
    max_topics: int = _setting(100, "topics one socket may join", least=1)
    max_in_flight: int = _setting(1000, "unanswered pushes one socket may have", least=1)
    max_queue_frames: int = _setting(
        1000, "frames that may wait for a slow client before it is closed", least=1
    )
    max_queue_bytes: int = _setting(
        4_194_304,
        "bytes that may wait on one socket, unsent frames before it is closed, unanswered pushes",
        least=65536,
    )
    presence_lease_ms: int = _setting(
        15_000, "how long somebody stays present whose worker or node is gone", least=100
    )
    idle_timeout_ms: int = _setting(
        60_000, "close a socket that sends nothing, not even heartbeats, for so long", least=1000
    )
    request_timeout_ms: int = _setting(
        10_000,
        "time for the head of an HTTP request, and for its body, before it is refused with 408",
        least=1,
    )
    timeout_ms: int = _setting(
        10_000, "time a client's message may take from arrival to answer", least=1
    )
    python_budget_ms: int = _setting(
        250, "time a Python handler may compute; it shares the worker", least=1
    )
    link_max_frame_bytes: int = _setting(4_194_304, "largest frame on the link", least=65536)
    link_in_flight: int = _setting(1024, "unanswered calls on one link", least=1)
    outbox_lease_ms: int = _setting(
        10_000, "time a claimed effect belongs to one worker", least=100
    )
    outbox_attempts: int = _setting(
        8,
        "attempts before a timer's message, or an effect whose target is there and fails at it, "
        "goes to the dead letters",
        least=1,
    )
    done_ttl_ms: int = _setting(
        604_800_000, "how long a committed message's reply is kept for repeats", least=60_000
    )
    events_keep: int = _setting(
        10_000, "events kept per subsystem for clients that come back", least=100
    )
    drain_ms: int = _setting(
        5_000, "longest time a stopping worker waits for messages in flight", least=0
    )


def parse(environ: Mapping[str, str], **overrides: Any) -> Settings:
    """Read settings from an environment; `overrides` (already typed) win.

    Raises BadSetting for a value that does not parse and for a `BRIDGE_` name that is no setting.
    """
    known = {PREFIX + f.name.upper(): f for f in fields(Settings)}
    values: dict[str, Any] = {}
    for name, text in environ.items():
        if not name.startswith(PREFIX) or name in INTERNAL:
            continue
        if name not in known:
            near = nearest(name[len(PREFIX) :], (other[len(PREFIX) :] for other in known))
            meant = f", {PREFIX}{near} perhaps" if near else ""
            raise BadSetting(f"{name}: no such setting{meant}; `bridge settings` lists them")
        values[known[name].name] = _parse_one(name, known[name], text)
    settings = Settings(**{**values, **overrides})
    if settings.zone != "UTC":
        _check_zone(settings.zone)
    return settings


def _check_zone(zone: str) -> None:
    from zoneinfo import ZoneInfo  # not for each `bridge call`

    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise BadSetting(f"BRIDGE_ZONE: expected an IANA time zone, got {zone!r}") from None


def environment(settings: Settings) -> dict[str, str]:
    """Return the variables that make a child process parse the same settings."""
    default = Settings()
    changed = {
        f.name: getattr(settings, f.name)
        for f in fields(Settings)
        if getattr(settings, f.name) != getattr(default, f.name)
    }
    return {PREFIX + name.upper(): _text(value) for name, value in changed.items()}


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def _parse_one(name: str, setting: Field[Any], text: str) -> Any:
    kind: type[Any] = type(setting.default)
    least = setting.metadata["least"]
    choices = setting.metadata["choices"]
    if kind is bool:
        if text not in ("0", "1", ""):
            raise BadSetting(f"{name}: expected 0 or 1, got {text!r}")
        return text == "1"
    if kind is int:
        if not text.isascii() or not text.isdecimal() or int(text) < least:
            raise BadSetting(f"{name}: expected a whole number of at least {least}, got {text!r}")
        return int(text)
    if choices and text not in choices:
        raise BadSetting(f"{name}: expected one of {', '.join(choices)}, got {text!r}")
    return text
