"""`bridge contracts import`: what is written, what is said, and the exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bridge.contracts.registry import Registry
from tests.cli.conftest import Cli
from tests.contracts.broken import with_change, written

SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "$defs": {"name": {"type": "string", "minLength": 1}},
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"$ref": "#/$defs/name"}, "version": {"type": "number", "enum": [2]}},
    "additionalProperties": False,
}
LOOSE = {**SCHEMA, "properties": {"name": {"type": "string", "pattern": "^\\S+$"}}}


def schema(folder: Path, document: Any, name: str = "outbound-intent.schema.json") -> str:
    file = folder / name
    file.write_text(json.dumps(document))
    return str(file)


def test_the_definitions_can_be_pasted_into_a_contract(alone: Cli, tmp_path: Path) -> None:
    file = schema(tmp_path, SCHEMA)
    done = alone("contracts", "import", file)
    assert done.code == 0
    assert done.err == (
        f"bridge: {file}: /$defs/name: noted: the name 'name': it is Name now\n"
        f'bridge: the whole of {file} is {{"$ref": "#/$defs/OutboundIntent"}}\n'
    )
    definitions = with_change("/$defs/Sound", {})["$defs"] | done.json["$defs"]
    contract = with_change("/$defs", definitions)
    contract["operations"]["set"]["request"] = {"$ref": "#/$defs/OutboundIntent"}
    del contract["operations"]["set"]["idempotency"]
    written(tmp_path / "contracts", contract)
    request = Registry.load(tmp_path / "contracts").get("sound").operations["set"]
    assert request.check_request({"name": "a", "version": 2}) == {"name": "a", "version": 2}


def test_without_loosen_nothing_is_written_and_every_place_is_named(
    alone: Cli, tmp_path: Path
) -> None:
    file = schema(tmp_path, LOOSE)
    done = alone("contracts", "import", file, "--out", str(tmp_path / "out.json"))
    assert (done.code, done.out) == (1, "")
    assert (
        f"bridge: {file}: /properties/name/pattern: needs --loosen: pattern ^\\S+$: " in done.err
    )
    assert done.err.splitlines()[-1] == (
        "bridge: nothing was written: 1 cannot be said exactly. Mend the schema, or let the "
        "result take more: --loosen"
    )
    assert not (tmp_path / "out.json").exists()


def test_with_loosen_the_result_takes_more_and_that_is_said(alone: Cli, tmp_path: Path) -> None:
    file, out = schema(tmp_path, {**LOOSE, "title": "My intent"}), tmp_path / "out.json"
    done = alone("contracts", "import", file, "--loosen", "--out", str(out))
    assert (done.code, done.out) == (0, "")
    assert "/properties/name/pattern: loosened: pattern ^\\S+$: becomes ^[^ ]+$, " in done.err
    assert list(json.loads(out.read_text())["$defs"]) == ["MyIntent", "Name"]


def test_a_file_that_is_there_is_not_overwritten(alone: Cli, tmp_path: Path) -> None:
    file = schema(tmp_path, SCHEMA)
    done = alone("contracts", "import", file, "--out", file)
    said = f"bridge: {file} is there already: take another --out"
    assert (done.code, done.err.splitlines()[-1]) == (1, said)
    assert json.loads(Path(file).read_text()) == SCHEMA


def test_what_cannot_be_taken_at_all_is_refused_even_so(alone: Cli, tmp_path: Path) -> None:
    file = schema(tmp_path, {"properties": {"constructor": {}}})
    done = alone("contracts", "import", file, "--loosen")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"bridge: {file}: /properties/constructor: refused: ")
    assert done.err.splitlines()[-1].startswith("bridge: nothing was written: 1 refused")


def test_of_what_is_no_schema_it_is_said_what_draft_07_expects(
    alone: Cli, tmp_path: Path
) -> None:
    file = schema(
        tmp_path,
        {"properties": {"n": {"type": "nmber"}, "o": {"$ref": "#/a b"}}, "items": [{}, 1]},
    )
    done = alone("contracts", "import", file)
    assert '/properties/n/type: refused: "nmber" is not one of "array"' in done.err
    assert '/properties/o/$ref: refused: "#/a b" is not a "uri-reference"' in done.err
    assert '/items/1: refused: 1 is not of types "boolean", "object"' in done.err
