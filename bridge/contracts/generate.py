"""Write what is generated from the contracts, or say where it drifted.

    python -m bridge.contracts.generate [--check]

Pydantic models by datamodel-code-generator; types for TypeScript by
contracts/typescript/scripts/generate.mjs, which is called where its packages are installed. No
output depends on clock, machine or order of files.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bridge.contracts.files import BUILT_IN, CONTRACTS, META, ROOT, read_json

TYPESCRIPT = CONTRACTS / "typescript"
# target -> the file whose `$defs` (and own schema, for the meta schemas) become classes
MODELS = {
    ROOT / "bridge/contracts/generated/subsystem.py": META / "subsystem.schema.json",
    ROOT / "bridge/contracts/generated/scenarios.py": META / "scenarios.schema.json",
    ROOT / "bridge/subsystems/generated/heartbeat.py": BUILT_IN / "heartbeat/subsystem.json",
}
_OPTIONS = [
    "--output-model-type=pydantic_v2.BaseModel",
    "--target-python-version=3.11",
    "--formatters=builtin",
    "--disable-timestamp",
    "--use-standard-collections",
    "--use-union-operator",
    "--field-constraints",
    "--use-annotated",
    "--enum-field-as-literal=all",
    "--collapse-root-models",
    "--enable-faux-immutability",
    "--use-schema-description",
    "--strict-nullable",
]


def missing() -> str:
    """Say what generating needs and is not there; empty if nothing is."""
    absent = [name for name in ("datamodel_code_generator", "ruff") if find_spec(name) is None]
    return f"it needs {' and '.join(absent)}: install the `dev` extra" if absent else ""


def python_models() -> dict[Path, bytes]:
    """Return the text of every generated Python module."""
    return {target: _model(source, target) for target, source in MODELS.items()}


def drifted(wanted: Mapping[Path, bytes] | None = None) -> list[Path]:
    """Return the generated files that are not what the contracts give."""
    if wanted is None:
        wanted = python_models()
    return [p for p, data in wanted.items() if not p.is_file() or p.read_bytes() != data]


def write(wanted: Mapping[Path, bytes]) -> list[Path]:
    """Write the files that drifted, and return them."""
    stale = drifted(wanted)
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(wanted[path])
    return stale


def typescript(*, check: bool) -> tuple[bool, str]:
    """Run the TypeScript generator: whether all is well, and one line about it."""
    script = TYPESCRIPT / "scripts" / "generate.mjs"
    if not (TYPESCRIPT / "node_modules").is_dir():
        return True, "typescript: left out, its packages are missing: run `npm ci` in " + str(
            TYPESCRIPT.relative_to(ROOT)
        )
    command = ["node", str(script), *(["--check"] if check else [])]
    try:
        result = subprocess.run(command, cwd=TYPESCRIPT, capture_output=True, text=True)
    except FileNotFoundError:
        return True, "typescript: left out, there is no `node` in the path"
    lines = (result.stdout + result.stderr).strip().splitlines()
    return result.returncode == 0, f"typescript: {'; '.join(lines) or 'up to date'}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bridge.contracts.generate")
    parser.add_argument("--check", action="store_true", help="write nothing, fail on drift")
    check = parser.parse_args(arguments).check
    if absent := missing():
        print(absent)
        return 1
    if check:
        stale = drifted()
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not what the contracts give: run `make generate`")
        fine, text = typescript(check=True)
        print(text)
        return 1 if stale or not fine else 0
    for path in write(python_models()):
        print(f"wrote {path.relative_to(ROOT)}")
    fine, text = typescript(check=False)
    print(text)
    return 0 if fine else 1


def _model(source: Path, target: Path) -> bytes:
    document = read_json(source)
    schemas = dict(document.get("$defs", {}))
    if source.parent == META:
        own = {k: v for k, v in document.items() if k not in ("$schema", "$defs")}
        schemas[document["title"]] = own
    # As components of an OpenAPI file, definitions become classes without a class around them.
    components: Any = {"openapi": "3.1.0", "info": {"title": "", "version": ""}, "paths": {}}
    components["components"] = {"schemas": schemas}
    text = json.dumps(components).replace("#/$defs/", "#/components/schemas/")
    header = (
        f'"""Written by `make generate` from {source.relative_to(ROOT)}. Do not edit."""\n'
        "# ruff: noqa: E501 (texts come from the schema as they are)\n"
    )
    with TemporaryDirectory() as folder:
        output = Path(folder) / "model.py"
        _run(
            [
                sys.executable,
                "-m",
                "datamodel_code_generator",
                "--input-file-type",
                "openapi",
                *_OPTIONS,
                "--custom-file-header",
                header,
                "--output",
                str(output),
            ],
            text.encode(),
        )
        made = output.read_bytes()
    name = ["--stdin-filename", str(target)]
    made = _run([sys.executable, "-m", "ruff", "check", "-q", "--fix", *name, "-"], made)
    return _run([sys.executable, "-m", "ruff", "format", *name, "-"], made)


def _run(command: list[str], data: bytes) -> bytes:
    result = subprocess.run(command, cwd=ROOT, input=data, capture_output=True)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command[:4])}: {result.stderr.decode()}")
    return result.stdout


if __name__ == "__main__":
    sys.exit(main())
