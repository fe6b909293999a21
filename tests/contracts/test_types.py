"""Types for anybody's contract: whatever it may say generates, compiles, and keeps its values."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from bridge.canonical import canonical
from bridge.cli import main
from bridge.contracts.contract import Contract
from bridge.contracts.files import BUILT_IN, CONTRACTS, ROOT, read_json
from bridge.contracts.loading import load_contract
from bridge.contracts.scenarios import load_scenarios
from bridge.contracts.types import elixir, python, typescript
from bridge.errors import ContractBroken, Refusal
from bridge.testing import scenarios
from bridge.typed import operations, plain

FOLDERS = [*(file.parent for file in BUILT_IN.glob("*/subsystem.json")),
           ROOT / "tests/subsystems/counter", CONTRACTS / "vectors/scenarios/ledger"]  # fmt: skip
TSC = CONTRACTS / "typescript/node_modules/.bin/tsc"
# Among them what the languages have for themselves.
WORDS = "a b class model_dump self schema _x items é a-b 0 None True Any int Model copy state"
MEMBERS = ["", "a b", *WORDS.split()]
DEFINITIONS = ("State", "Any", "Model", "Record", "Union", "Ab", "AB")


def schemas(below: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    members = st.dictionaries(st.sampled_from(MEMBERS), below, max_size=4)
    return st.one_of(
        st.builds(lambda items: {"type": "array", "items": items}, below),
        st.builds(
            lambda properties, rest, some: {
                "type": "object",
                "properties": properties,
                "required": sorted(properties)[:some],
                "additionalProperties": rest,
            },
            members,
            st.booleans() | below,
            st.integers(0, 4),
        ),
        st.builds(lambda some: {"anyOf": some}, st.lists(below, min_size=1, max_size=3)),
        st.builds(lambda some: {"oneOf": some}, st.lists(below, min_size=1, max_size=2)),
        st.builds(lambda one: {"allOf": [one]}, below),
    )


def plains(names: tuple[str, ...]) -> st.SearchStrategy[Any]:
    references = [{"$ref": f"#/$defs/{name}"} for name in (*names, "Tree", "Map")]
    return st.one_of(
        st.sampled_from(["integer", "string", "boolean", "null"]).map(lambda k: {"type": k}),
        st.sampled_from(["integer", "string"]).map(lambda kind: {"type": [kind, "null"]}),
        st.lists(st.sampled_from(["x", 'y"\\', 1, True, None]), min_size=1, unique_by=repr).map(
            lambda values: {"enum": values}
        ),
        st.sampled_from([0, "", False, [1], {"a": 1}]).map(lambda value: {"const": value}),
        st.sampled_from(references),
        st.just({"type": "object", "additionalProperties": True}),
        st.just({}),
    )


def schemas_of(names: tuple[str, ...]) -> st.SearchStrategy[Any]:
    return st.recursive(plains(names), schemas, max_leaves=8)


TREE = {
    "type": "object",
    "required": ["Tree"],
    "additionalProperties": {"$ref": "#/$defs/Tree"},
    "properties": {"Tree": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}},
}
MAP = {
    "anyOf": [
        {"type": "string"},
        {"type": "object", "additionalProperties": {"$ref": "#/$defs/Map"}},
    ]
}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "x", 'y"\\']),
    lambda below: (
        st.lists(below, max_size=2) | st.dictionaries(st.sampled_from(MEMBERS), below, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def contracts(draw: st.DrawFn) -> Any:
    # Each refers to those behind it, so that none leads round in a circle.
    definitions = {
        name: draw(schemas_of(DEFINITIONS[n + 1 :])) for n, name in enumerate(DEFINITIONS)
    }
    anything = schemas_of(DEFINITIONS)
    request = {"type": "object", "additionalProperties": True}
    return {
        "name": "odd",
        "version": 1,
        "summary": 'Odd */ """ #{names}.',
        "owner": "python",
        "fallback": None,
        "initial_state": None,
        "state": {"anyOf": [{"type": "null"}, draw(anything)]},
        "operations": {
            "constructor": {
                "summary": "Any.",
                "kind": "command",
                "request": request,
                "reply": draw(anything),
            }
        },
        "$defs": {**definitions, "Tree": TREE, "Map": MAP},
    }


def example(schema: Any, definitions: Any, draw: Any, depth: int = 0) -> Any:
    """Draw a value that is likely to hold to a schema."""
    if "$ref" in schema:
        return example(definitions[schema["$ref"].split("/")[-1]], definitions, draw, depth + 1)
    for keyword in ("anyOf", "oneOf", "allOf"):
        if keyword in schema:
            return example(draw(st.sampled_from(schema[keyword])), definitions, draw, depth + 1)
    if "enum" in schema or "const" in schema:
        return draw(st.sampled_from(schema.get("enum", [schema.get("const")])))
    kind = schema.get("type")
    if kind == "array":
        items = draw(st.integers(0, 0 if depth > 6 else 2))
        return [example(schema["items"], definitions, draw, depth + 1) for _ in range(items)]
    if kind == "object" and "properties" in schema:
        names = set(schema["required"])
        if depth <= 6:
            names |= {name for name in schema["properties"] if draw(st.booleans())}
        return {
            name: example(schema["properties"][name], definitions, draw, depth + 1)
            for name in sorted(names)
        }
    if isinstance(kind, list):
        kind = draw(st.sampled_from(kind))
    by_kind = {
        "integer": st.integers(-2, 2),
        "string": st.sampled_from(["", "x"]),
        "boolean": st.booleans(),
        "null": st.none(),
        "object": st.dictionaries(st.sampled_from(MEMBERS), VALUES, max_size=2),
    }
    return draw(by_kind.get(kind or "", VALUES))


def loaded(folder: Path, document: Any) -> Contract:
    (folder / "odd").mkdir(exist_ok=True)
    file = folder / "odd" / "subsystem.json"
    file.write_text(json.dumps(document))
    return load_contract(file)


def module(text: str) -> ModuleType:
    made = ModuleType("odd_types")
    sys.modules["odd_types"] = made  # where pydantic looks names up
    exec(compile(text, "odd_types.py", "exec"), made.__dict__)
    return made


ODD = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)


def test_models_take_what_a_contract_allows_and_give_it_back(tmp_path: Path) -> None:
    checked = 0

    @ODD
    @given(contracts(), st.data())
    def each(document: Any, data: st.DataObject) -> None:
        nonlocal checked
        try:
            contract = loaded(tmp_path, document)
        except ContractBroken:
            return  # too many ways
        adapter: TypeAdapter[Any] = TypeAdapter(module(python.write(document)).STATE)
        for _ in range(3):
            try:
                value = example(document["state"], document["$defs"], data.draw)
            except RecursionError:
                return
            if contract.state.violation(value) is None:
                checked += 1
                assert canonical(plain(adapter.validate_python(value))) == canonical(value)

    each()
    assert checked > 100


@pytest.mark.skipif(not TSC.exists(), reason="its packages are missing: npm ci")
def test_whatever_a_contract_says_compiles(tmp_path: Path) -> None:
    documents: list[Any] = [read_json(folder / "subsystem.json") for folder in FOLDERS]

    @ODD
    @given(contracts())
    def each(document: Any) -> None:
        try:
            loaded(tmp_path, document)
        except ContractBroken:
            return
        documents.append(document)

    each()
    assert len(documents) > 30
    for n, document in enumerate(documents):
        (tmp_path / f"t{n}_types.py").write_text(python.write(document))
        (tmp_path / f"t{n}_types.ts").write_text(typescript.write(document))
        text = elixir.write(document)
        name = text.split("defmodule ", 1)[1].split(" do", 1)[0]
        (tmp_path / f"t{n}_types.ex").write_text(text.replace(name, f"Types{n}"))
    strict = ["--strict", "--exactOptionalPropertyTypes", "--noEmit"]
    strict += ["--target", "es2023", "--module", "esnext"]
    run(
        str(TSC),
        "--noEmit",
        "--exactOptionalPropertyTypes",
        *strict,
        *map(str, sorted(tmp_path.glob("*.ts"))),
    )
    found = map(str, sorted(tmp_path.glob("*_types.py")))
    alone = ["--config-file", "", "--cache-dir", str(tmp_path / "cache")]
    run(sys.executable, "-m", "mypy", "--strict", *alone, *found)
    if elixirc := shutil.which("elixirc"):
        (tmp_path / "beams").mkdir()
        run(elixirc, "-o", str(tmp_path / "beams"), *map(str, sorted(tmp_path.glob("*.ex"))))


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_models_keep_all_that_our_scenarios_hold(folder: Path) -> None:
    contract = load_contract(folder / "subsystem.json")
    types = module(python.write(read_json(folder / "subsystem.json")))
    state = TypeAdapter(types.STATE)
    for scenario in load_scenarios(folder / "scenarios.json", contract):
        for step in scenario.steps:
            request, reply = map(TypeAdapter, types.OPERATIONS[step.operation.name])
            held = [(state, step.state), (request, step.request)]
            if step.outcome is not None:
                held.append((reply, step.outcome.reply))
            for adapter, value in held:
                assert canonical(plain(adapter.validate_python(value))) == canonical(value)


def test_a_handler_takes_and_returns_models_or_plain_dicts() -> None:
    folder = CONTRACTS / "vectors/scenarios/ledger"
    types = module(python.write(read_json(folder / "subsystem.json")))

    def add(state: Any, request: Any, context: Any) -> Any:
        if request.n > 10:
            raise Refusal("too_much", "too much", limit=10)
        state.total += request.n
        tags = dict(state.by_tag)
        tags[request.tag] = tags.get(request.tag, 0) + request.n
        state.by_tag = {name: n for name, n in tags.items() if n}
        return types.Total(total=state.total), [], state

    def total(state: Any, request: Any, context: Any) -> Any:
        return {"total": state.total}, [], state

    handle = operations(types, add=add, total=total)
    for scenario in scenarios(folder):
        scenario.check(handle)
    with pytest.raises(TypeError, match=r"no other: \['more', 'total'\]"):
        operations(types, add=add, more=add)


def test_types_are_written_beside_the_contract_and_drift_is_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(CONTRACTS / "vectors/scenarios/ledger", tmp_path / "ledger")
    generate = ["contracts", "generate", str(tmp_path)]
    assert main([*generate, "--check"]) == 1
    assert main(generate) == 0
    assert {path.name for path in (tmp_path / "ledger").glob("*_types.*")} == {
        "ledger_types.py",
        "ledger_types.ts",
        "ledger_types.ex",
    }
    assert main([*generate, "--check"]) == 0
    assert main([*generate, "--runtimes", "perl"]) == 2
    assert "got perl" in capsys.readouterr().err
