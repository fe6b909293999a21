"""Every contract the bridge knows, by the subsystem's name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bridge.contracts.contract import Contract, Operation
from bridge.contracts.files import closed
from bridge.contracts.loading import FILE_NAME, load_contract
from bridge.errors import BridgeError, ContractBroken

__all__ = ["Contract", "Operation", "Registry"]


class Registry:
    """Loaded once, at the start; nothing in it changes afterwards."""

    def __init__(self, contracts: Mapping[str, Contract], files: Mapping[str, Path]) -> None:
        """Take what `load` found; `files` are the contracts' files."""
        self._contracts = dict(sorted(contracts.items()))
        self._files = dict(sorted(files.items()))

    @classmethod
    def load(cls, *folders: Path, left_out: list[ContractBroken] | None = None) -> Registry:
        """Load the subsystems of all folders: `<folder>/<name>/subsystem.json`.

        A folder may also be one subsystem's own. Raises ContractBroken at the first fault; with
        `left_out` that of a subsystem is put there, and the others are loaded.
        """
        contracts: dict[str, Contract] = {}
        files: dict[str, Path] = {}
        for folder in folders:
            for file in files_of(folder):
                try:
                    contract = load_contract(file)
                    if contract.name in contracts:
                        raise _twice(contract.name, file, files[contract.name])
                except ContractBroken as error:
                    if left_out is None:
                        raise
                    left_out.append(error)
                    continue
                contracts[contract.name] = contract
                files[contract.name] = file
        return cls(contracts, files)

    def get(self, name: str) -> Contract:
        """Return a subsystem's contract. Raises BridgeError `unknown_topic`."""
        contract = self._contracts.get(name)
        if contract is None:
            raise BridgeError(
                "unknown_topic",
                f"no subsystem {name[:64]!r}, expected one of {', '.join(self._contracts)}",
                expected=self.names(),
                actual=name[:64],
            )
        return contract

    def names(self) -> list[str]:
        return list(self._contracts)

    def digests(self) -> dict[str, str]:
        return {name: contract.digest for name, contract in self._contracts.items()}

    def file(self, name: str) -> Path:
        """Return the file a contract was read from; its scenarios are beside it."""
        return self._files[self.get(name).name]


def _twice(name: str, file: Path, other: Path) -> ContractBroken:
    return ContractBroken(str(file), "/name", "unique", f"{name} is declared in {other} too")


def files_of(folder: Path) -> list[Path]:
    """Return the contract files of a folder. Raises ContractBroken if there is none."""
    if what := closed(folder):
        raise ContractBroken(str(folder), "", "file", what)
    if not folder.is_dir():
        raise ContractBroken(str(folder), "", "file", "expected a folder of subsystems")
    own = folder / FILE_NAME
    # One that may not be entered is named when its file is read.
    found = (
        [own]
        if own.is_file()
        else [
            file
            for file in sorted(sub / FILE_NAME for sub in folder.iterdir())
            if closed(file.parent) or file.is_file()
        ]
    )
    if not found:
        raise ContractBroken(
            str(folder), "", "file", f"expected <name>/{FILE_NAME} in it, found none"
        )
    return found
