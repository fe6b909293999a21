"""What became of an imported schema, and what each validator says of a value."""

from __future__ import annotations

from typing import Any

import jsonschema_rs

from bridge.contracts.importing import Imported, import_schema
from bridge.contracts.loading import subset
from bridge.contracts.validation import CompiledSchema

LATER = {"$schema": "https://json-schema.org/draft/2020-12/schema"}


def imported(schema: Any) -> Imported:
    return import_schema(schema, "Root", subset())


def found(schema: Any) -> list[tuple[str, str]]:
    return [(finding.kind, finding.pointer) for finding in imported(schema).findings]


def written(schema: Any) -> Any:
    """Return what an importable schema became."""
    made = imported(schema)
    assert made.root is not None
    return made.definitions[made.root]


def before(schema: Any, value: Any) -> bool:
    return jsonschema_rs.Draft7Validator(schema, validate_formats=True).is_valid(value)


def apart(schema: Any) -> Any:
    """Return a schema that asks for a `$ref` and for what stands beside it."""
    if isinstance(schema, list):
        return [apart(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {keyword: apart(said) for keyword, said in schema.items()}
    if isinstance(made.get("$ref"), str) and len(made) > 1:
        return {"allOf": [{"$ref": made.pop("$ref")}, made]}
    return made


def after(made: Imported, value: Any) -> bool:
    assert made.root is not None
    compiled = CompiledSchema("root", made.definitions[made.root], made.definitions)
    return compiled.violation(value) is None
