"""Where the contracts of this repository are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from bridge.canonical import parse
from bridge.errors import BridgeError, ContractBroken

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = ROOT / "contracts"
META = CONTRACTS / "meta"
BUILT_IN = CONTRACTS / "subsystems"
BUILT_IN_IMPLEMENTATIONS = BUILT_IN / "implementations.json"


def closed(folder: Path) -> str:
    """Say what to do about a folder that may not be read and entered; '' if it may."""
    try:
        os.listdir(folder)
        os.stat(folder / ".")
    except PermissionError as error:
        return (
            f"expected a folder that user {os.getuid()} may read and enter, got:"
            f" {error.strerror}; `chmod -R a+rX` it"
        )
    except OSError:
        pass  # no folder
    return ""


def readable(file: Path) -> bool:
    """Say whether it is a file that may be read; False also where a folder may not be entered."""
    return os.path.isfile(file) and os.access(file, os.R_OK)


def read_json(file: Path) -> Any:
    """Read a JSON file by the strict rules of `bridge.canonical`; raises ContractBroken."""
    try:
        data = file.read_bytes()
    except OSError as error:
        if what := closed(file.parent):
            raise ContractBroken(str(file), "", "file", what) from None
        hint = ""
        if file.is_relative_to(CONTRACTS):
            hint = f"; the bridge runs from a checkout, whose contracts are in {CONTRACTS}"
        raise ContractBroken(
            str(file), "", "file", f"expected a readable file, got: {error.strerror}{hint}"
        ) from None
    try:
        return parse(data, what="the file")
    except BridgeError as error:
        rule = "json" if error.code == "invalid_frame" else error.code
        pointer = str(error.detail.get("pointer", ""))
        raise ContractBroken(str(file), pointer, rule, error.message) from None
