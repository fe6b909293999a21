"""What the edge needs to know of a contract; `bridge.contracts.contract.Contract` is one."""

from __future__ import annotations

from typing import Protocol


class Operation(Protocol):
    @property
    def kind(self) -> str: ...

    @property
    def content_type(self) -> str | None: ...


class Contract(Protocol):
    @property
    def presence(self) -> bool: ...

    @property
    def told_who_is_there(self) -> str: ...

    def operation(self, name: str) -> Operation: ...

    def check_key(self, key: str) -> object: ...
