"""Schemas that others wrote, from checkouts that the environment names; skipped without them.

JSON_SCHEMA_TEST_SUITE: github.com/json-schema-org/JSON-Schema-Test-Suite. PUBLIC_SCHEMAS: any
folder of schemas, such as src/schemas/json of github.com/SchemaStore/schemastore.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.canonical import normalise, parse
from bridge.contracts.dialects import DRAFT07, DRAFT2020
from bridge.contracts.importing import Imported
from bridge.contracts.loading import subset
from bridge.errors import BridgeError
from tests.contracts.verdicts import after, imported

SUITE, PUBLIC = (os.environ.get(name) for name in ("JSON_SCHEMA_TEST_SUITE", "PUBLIC_SCHEMAS"))
DIALECTS = {"draft7": f"{DRAFT07}#", "draft2020-12": DRAFT2020}
# Where import means what writers mean: beside `$ref` (Effect 3), and what a dialect dropped.
MEANT = ("ref overrides any sibling keywords",)
DROPPED = "dependencies-compatibility.json"


def groups(dialect: str) -> Iterator[tuple[str, Any, list[Any]]]:
    """Yield name, schema and tests of each group that is JSON as contracts have it."""
    for file in sorted((Path(str(SUITE)) / "tests" / dialect).rglob("*.json")):
        for group in json.loads(file.read_text()) if file.name != DROPPED else ():
            schema, name = group["schema"], group["description"]
            if isinstance(schema, dict):
                schema = {"$schema": DIALECTS[dialect], **schema}
            if "format" not in file.parts and name not in MEANT:
                try:
                    yield f"{file.name}: {name}", normalise(schema), group["tests"]
                except BridgeError:
                    continue


def is_sound(made: Imported) -> bool:
    each = made.definitions.values()
    return not [fault for s in each for fault in subset().lint(s, "", made.definitions)]


@pytest.mark.skipif(SUITE is None, reason="JSON_SCHEMA_TEST_SUITE names no checkout")
@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_is_imported_has_the_verdicts_of_the_official_suite(dialect: str) -> None:
    held, wrong = 0, []
    for name, schema, tests in groups(dialect):
        made = imported(schema)
        if made.root is None or made.of("refused"):
            continue
        assert is_sound(made), name
        for test in tests:
            try:
                takes = after(made, normalise(test["data"]))
            except BridgeError:
                continue
            held += 1
            if takes != test["valid"] and not (takes and made.of("loosened")):
                wrong.append(f"{name}: {test['description']}")
    assert wrong == []
    assert held > 800


@pytest.mark.skipif(PUBLIC is None, reason="PUBLIC_SCHEMAS names no folder")
def test_each_public_schema_is_imported_soundly_or_refused_with_a_reason() -> None:
    for file in sorted(Path(str(PUBLIC)).rglob("*.json")):
        try:
            made = imported(parse(file.read_bytes()))
        except BridgeError:
            continue  # no JSON, or a number that not all three languages have
        if not made.of("refused"):
            assert is_sound(made), file
