"""Where the activities of each subsystem are: the `activities` of the implementations file."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from bridge.canonical import escape
from bridge.contracts.contract import ActivityRuntimeName
from bridge.contracts.files import read_json, readable
from bridge.contracts.implementations import LeftOut
from bridge.contracts.loading import require_shape
from bridge.contracts.registry import Registry
from bridge.errors import ContractBroken, text_of

Places = Mapping[
    str, Mapping[str, str]
]  # subsystem -> runtime -> file, module, address or prefix


def load(file: Path) -> dict[str, dict[str, str]]:
    """Return where each subsystem's activities are, by runtime, files made absolute.

    Raises ContractBroken for a file that is no implementations file.
    """
    document = read_json(file)
    require_shape(file, document, "implementations.schema.json")
    return {
        subsystem: {
            runtime: str((file.parent / where).resolve()) if _is_file(runtime, where) else where
            for runtime, where in entries["activities"].items()
        }
        for subsystem, entries in document.items()
        if "activities" in entries
    }


def of_runtime(places: Places, runtime: ActivityRuntimeName) -> dict[str, str]:
    """Return where one runtime's activities are, by subsystem."""
    return {name: entries[runtime] for name, entries in places.items() if runtime in entries}


def python_functions(
    places: Places, registry: Registry, left_out: LeftOut
) -> dict[str, dict[str, Any]]:
    """Import the async functions of the activities that contracts give to Python.

    What cannot be had is put into `left_out`, each named; the others are returned.
    """
    found: dict[str, dict[str, Any]] = {}
    for subsystem, where in of_runtime(places, "python").items():
        if subsystem not in registry.names():
            continue
        contract = registry.get(subsystem)
        wanted = [a.name for a in contract.activities.values() if a.runtime == "python"]
        try:
            module = _imported(subsystem, where)
            found[subsystem] = {name: _function(module, name, where) for name in wanted}
        except ContractBroken as fault:
            left_out.append(fault)
        except (Exception, SystemExit) as error:  # whatever a user's module does when imported
            at = f"/{escape(subsystem)}/activities/python"
            left_out.append(ContractBroken(where, at, "import", text_of(error)))
    return found


def _function(module: ModuleType, name: str, where: str) -> Any:
    function = getattr(module, name, None)
    if inspect.iscoroutinefunction(function):
        return function
    got = "none" if function is None else "another"
    text = f"expected `async def {name}(request, call)`, got {got}"
    raise ContractBroken(where, f"/{escape(name)}", "activity", text)


def _imported(subsystem: str, where: str) -> ModuleType:
    if not where.endswith(".py"):
        return importlib.import_module(where)
    name = f"activities_{subsystem.replace('-', '_')}"
    beside = [str(Path(where).parent)]
    spec = importlib.util.spec_from_file_location(name, where, submodule_search_locations=beside)
    if spec is None or spec.loader is None or not readable(Path(where)):
        raise ContractBroken(where, "", "file", "expected a Python file that can be read")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _is_file(runtime: str, where: str) -> bool:
    return runtime in ("typescript", "elixir") or (runtime == "python" and where.endswith(".py"))
