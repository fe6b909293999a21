"""Handlers of models: one function per operation, with the types that were generated.

from bridge.typed import operations
from . import tally_types as types

def add(state: types.Total, request: types.Add, context: Context) -> tuple[...]:
    ...

handle = operations(types, add=add, total=total)
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from pydantic import BaseModel, TypeAdapter

from bridge.contracts.implementations import Handler
from bridge.message import Context


def operations(types: ModuleType, **functions: Callable[..., Any]) -> Handler:
    """Return a handler that hands each function models, and takes models or plain dicts back.

    A function returns `(reply, effects, state)`; of a query the effects are empty and the state
    is ignored. Raises TypeError if an operation of the contract has no function, or a function no
    operation.
    """
    wanted = set(types.OPERATIONS)
    if odd := sorted(wanted ^ set(functions)):
        raise TypeError(f"expected a function for each of {sorted(wanted)}, and no other: {odd}")
    states: TypeAdapter[Any] = TypeAdapter(types.STATE)
    requests: dict[str, TypeAdapter[Any]] = {
        name: TypeAdapter(request) for name, (request, _) in types.OPERATIONS.items()
    }

    def handle(state: Any, operation: str, request: Any, context: Context) -> Any:
        met = states.validate_python(state)
        asked = requests[operation].validate_python(request)
        return tuple(plain(part) for part in functions[operation](met, asked, context))

    return handle


def plain(value: Any) -> Any:
    """Return a value with its models made dicts, as they were read or set."""
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_unset=True, by_alias=True)
    if isinstance(value, dict):
        return {name: plain(below) for name, below in value.items()}
    if isinstance(value, list | tuple):
        return [plain(below) for below in value]
    return value
