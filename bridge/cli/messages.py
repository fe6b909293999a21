"""`bridge call` and `bridge listen`: a client like any other."""

from __future__ import annotations

import asyncio
import sys
import uuid
from typing import TYPE_CHECKING

from bridge.canonical import parse
from bridge.cli.command import (
    Call,
    Commands,
    UsageError,
    add_address,
    add_command,
    say_error,
    say_json,
)
from bridge.client import ErrorReply, NotReached, connected
from bridge.errors import BridgeError

if TYPE_CHECKING:
    from bridge.message import JSON

AGAIN_S = 1.0
MARGIN_S = 5.0  # beyond `timeout_ms`, after which the bridge answers itself


def add(commands: Commands) -> None:
    parser = add_command(
        commands, "call", "send one message and print its reply as JSON", _call, json=False
    )
    parser.add_argument("topic", metavar="SUBSYSTEM:KEY")
    parser.add_argument("operation", metavar="OPERATION")
    parser.add_argument(
        "request",
        metavar="JSON",
        nargs="?",
        default="{}",
        help="the request, `-` reads it from standard input; default {}",
    )
    parser.add_argument(
        "--id", metavar="MESSAGE_ID", help="repeat with the same id to settle an unknown outcome"
    )
    add_address(parser)
    parser = add_command(commands, "listen", "print the events of a topic until Ctrl-C", _listen)
    parser.add_argument("topic", metavar="TOPIC", help="SUBSYSTEM:KEY")
    parser.add_argument("--since", metavar="POSITION", help="begin after this event")
    add_address(parser)


def _call(call: Call) -> int:
    topic = _topic(call.args.topic)
    request = _request(call.args.request)
    # Ours rather than the edge's, so that it is known even when the answer is lost.
    message_id = call.args.id or str(uuid.uuid4())
    if isinstance(request, dict) and "message_id" in request:
        if call.args.id not in (None, request["message_id"]):
            raise UsageError("--id and the request's own message_id differ: give one of them")
        message_id = request["message_id"]
    elif isinstance(request, dict):
        request = {**request, "message_id": message_id}
    elif call.args.id:
        raise UsageError("--id goes with a request that is an object")
    timeout_s = call.settings.timeout_ms / 1000 + MARGIN_S

    async def ask() -> JSON:
        async with connected(call.url, call.token) as client:
            await client.join(topic, timeout_s=timeout_s)
            try:
                return await client.push(topic, call.args.operation, request, timeout_s)
            except NotReached as error:
                raise NotReached(f"{error}: repeat it with `--id {message_id}`") from None

    try:
        say_json(asyncio.run(ask()))
    except ErrorReply as error:
        say_json(error.response)
        return 1
    return 0


def _listen(call: Call) -> int:
    return asyncio.run(_follow(call, _topic(call.args.topic), call.args.since))


async def _follow(call: Call, topic: str, since: str | None) -> int:
    """Print events; when the worker leaves, join another one after the last event printed."""
    while True:
        async with connected(call.url, call.token) as client:
            try:
                joined = await client.join(topic, {"since": since} if since else {})
            except ErrorReply as error:
                say_json(error.response)
                return 1
            if since is None:
                say_error(f"listening to {topic}, Ctrl-C ends it")
            since = joined["position"]
            if joined.get("gap"):
                say_error(f"events are missing here; going on after {since}")
            while (event := await client.events.get()) is not None:
                _, name, body = event
                if name == "phx_error":
                    break
                since = body["position"]
                if call.args.json:
                    say_json({"topic": topic, "event": name, **body})
                else:
                    print(body["position"], name, end=" ")
                    say_json(body["payload"])
        await asyncio.sleep(AGAIN_S)


def _topic(text: str) -> str:
    subsystem, colon, key = text.partition(":")
    if not (subsystem and colon and key):
        raise UsageError(f"{text!r} is no topic, expected SUBSYSTEM:KEY")
    return text


def _request(text: str) -> JSON:
    if text == "-":
        text = sys.stdin.read()
    try:
        return parse(text, what="the request")
    except BridgeError as error:
        raise UsageError(error.message) from None
