"""The gateway's topics as an AsyncAPI 3 document, from the contract files. No I/O here.

Each subsystem is a channel whose address is its topic: what clients push is received, what is
emitted is sent. Payloads are schemas of the subset; AsyncAPI's own format takes them as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bridge.message import JSON

Contracts = Mapping[str, Mapping[str, Any]]

_PROTOCOL = (
    "Phoenix Channels V2 over WebSocket: a frame is [join_ref, ref, topic, event, payload]. The "
    "topic is the channel's address, the event the message's name, the payload its payload; a "
    "reply's event is phx_reply and its payload {status, response}."
)
_KEY = "What a message is about: the unit of order and of state, 1 to 200 characters."


def document(
    contracts: Contracts, errors: Mapping[str, Any], version: str, host: str
) -> dict[str, JSON]:
    """Return the document of all these contracts; `errors` is the schema of an error reply."""
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "joelclaw-bridge", "version": version, "description": _PROTOCOL},
        "defaultContentType": "application/json",
        "servers": {
            "gateway": {
                "host": host,
                "pathname": "/socket/websocket",
                "protocol": "ws",
                "bindings": {"ws": {"query": _query()}},
            }
        },
        "channels": {name: _channel(name, contract) for name, contract in contracts.items()},
        "operations": {
            key: operation
            for name, contract in contracts.items()
            for key, operation in _operations(name, contract)
        },
        "components": {
            "messages": {
                "error": {
                    "name": "phx_reply",
                    "summary": "The response where `status` is `error`.",
                    "payload": {"$ref": "#/components/schemas/ErrorReply"},
                }
            },
            "schemas": {
                "ErrorReply": dict(errors),
                **{
                    f"{name}.{definition}": _moved(schema, name)
                    for name, contract in contracts.items()
                    for definition, schema in contract.get("$defs", {}).items()
                },
            },
        },
    }


def _query() -> JSON:
    return {
        "type": "object",
        "properties": {
            "vsn": {"type": "string", "const": "2.0.0"},
            "token": {"type": "string", "description": "Where the gateway asks for one."},
        },
    }


def _channel(name: str, contract: Mapping[str, Any]) -> JSON:
    messages: dict[str, JSON] = {}
    for operation, asked in _asked(contract):
        binary = {"contentType": asked["content_type"]} if "content_type" in asked else {}
        messages[operation] = {
            "name": operation,
            "summary": asked["summary"],
            "payload": _moved(asked["request"], name),
            **binary,
        }
        messages[f"{operation}.reply"] = {
            "name": "phx_reply",
            "summary": f"The response of {operation} where `status` is `ok`.",
            "payload": _moved(asked["reply"], name),
        }
    for event, schema in contract.get("events", {}).items():
        messages[f"event.{event}"] = {"name": event, "payload": _moved(schema, name)}
    messages["error"] = {"$ref": "#/components/messages/error"}
    return {
        "address": f"{name}:{{key}}",
        "summary": contract["summary"],
        "servers": [{"$ref": "#/servers/gateway"}],
        "parameters": {"key": {"description": _KEY}},
        "messages": messages,
    }


def _operations(name: str, contract: Mapping[str, Any]) -> Iterator[tuple[str, JSON]]:
    channel = f"#/channels/{name}"
    for operation, asked in _asked(contract):
        answers = [f"{operation}.reply", "error"]
        yield (
            f"{name}.{operation}",
            {
                "action": "receive",
                "summary": asked["summary"],
                "tags": [{"name": name}, {"name": asked["kind"]}],
                "channel": {"$ref": channel},
                "messages": [{"$ref": f"{channel}/messages/{operation}"}],
                "reply": {
                    "channel": {"$ref": channel},
                    "messages": [{"$ref": f"{channel}/messages/{answer}"} for answer in answers],
                },
            },
        )
    for event in contract.get("events", {}):
        yield (
            f"{name}.event.{event}",
            {
                "action": "send",
                "tags": [{"name": name}],
                "channel": {"$ref": channel},
                "messages": [{"$ref": f"{channel}/messages/event.{event}"}],
            },
        )


def _asked(contract: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the operations that clients have."""
    for name, operation in contract["operations"].items():
        if not operation.get("internal"):
            yield name, operation


def _moved(value: Any, name: str) -> Any:
    """Return a schema whose `$ref`s name the document's own components."""
    if isinstance(value, list):
        return [_moved(each, name) for each in value]
    if not isinstance(value, Mapping):
        return value
    return {
        keyword: f"#/components/schemas/{name}.{said.removeprefix('#/$defs/')}"
        if keyword == "$ref" and isinstance(said, str)
        else {member: _moved(each, name) for member, each in said.items()}
        if keyword == "properties"
        else said
        if keyword in ("const", "enum", "default", "examples", "required")
        else _moved(said, name)
        for keyword, said in value.items()
    }
