"""The examples in contracts/joelclaw, held to the envelopes' contracts. No I/O here but reading.

An example has a `name`, one of `value`, `text` and `base64`, and its `verdict`: "valid", or the
`pointer` and `rule` of the first fault; `invented` is the known wrong shape it has. The rule of
what cannot be read is `json` or the error's code.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from bridge.canonical import canonical
from bridge.contracts.files import read_json
from bridge.contracts.loading import subset
from bridge.contracts.validation import BadSchema, pointer_of
from bridge.errors import BridgeError
from bridge.joelclaw.envelopes import FILE, NAMES, EnvelopeName, Envelopes
from bridge.joelclaw.shapes import invented

EXAMPLES = FILE.with_name("examples.json")
Example = Mapping[str, Any]


def examples() -> Iterator[tuple[EnvelopeName, Example]]:
    """Yield every example with the name of its envelope. Raises ContractBroken."""
    document = read_json(EXAMPLES)
    for name in NAMES:
        for example in document.get(name, []):
            yield name, example


def raw_of(example: Example) -> bytes:
    """Return what is on the wire."""
    if "base64" in example:
        return base64.b64decode(example["base64"])
    if "text" in example:
        return str(example["text"]).encode()
    return canonical(example["value"])


def verdict_of(envelopes: Envelopes, name: EnvelopeName, example: Example) -> Any:
    """Return the verdict on an example, in the form in which the file has it."""
    try:
        envelopes.check(name, raw_of(example))
    except BridgeError as error:
        return {"pointer": error.detail["pointer"], "rule": error.detail["rule"]}
    return "valid"


def faults() -> list[str]:
    """Return what is wrong with contracts/joelclaw, by place. Raises ContractBroken."""
    document = read_json(FILE)
    definitions = document["$defs"]
    found = [
        f"{fault.pointer}: {fault.rule}: {fault.message}"
        for name, schema in definitions.items()
        for fault in subset().lint(schema, f"/$defs/{name}", definitions)
    ]
    try:
        envelopes = Envelopes(document)
    except BadSchema as error:
        return [*found, f"{pointer_of(error.path)}: {error.rule}: {error.message}"]
    for name, example in examples():
        place = f"{name}, {example['name']}"
        verdict = verdict_of(envelopes, name, example)
        if verdict != example["verdict"]:
            found.append(f"{place}: expected {example['verdict']}, got {verdict}")
        shape, known = example.get("invented"), None
        if "value" in example:
            known = invented(example["value"], name)
        if known != shape:
            found.append(f"{place}: expected the shape {shape}, got {known}")
    return found
