"""Where the contracts of this repository are."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from bridge.canonical import parse
from bridge.errors import BridgeError, ContractBroken
from bridge.settings import Settings

# Of the checkout, or in the installed package what it has of one.
_PACKAGE = Path(__file__).resolve().parents[1]
CODE = _PACKAGE.parent
ROOT = CODE if (CODE / "contracts" / "meta").is_dir() else _PACKAGE / "data"
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


def contract_folders(settings: Settings) -> list[Path]:
    """Return the folder of the built-in contracts, then those of the settings."""
    more = [Path(folder) for folder in settings.contracts.split(":") if folder]
    return [BUILT_IN, *(folder for folder in more if folder != BUILT_IN)]


def read_json(file: Path) -> Any:
    """Read a JSON file by the strict rules of `bridge.canonical`; raises ContractBroken."""
    return read_with_digest(file)[0]


def read_with_digest(file: Path) -> tuple[Any, str]:
    """Read a JSON file, and the SHA-256 of its bytes as they lie there, as 64 hex digits."""
    try:
        data = file.read_bytes()
    except OSError as error:
        what = closed(file.parent) or f"expected a readable file, got: {error.strerror}"
        raise ContractBroken(str(file), "", "file", what) from None
    try:
        return parse(data, what="the file"), hashlib.sha256(data).hexdigest()
    except BridgeError as error:
        rule = "json" if error.code == "invalid_frame" else error.code
        pointer = str(error.detail.get("pointer", ""))
        raise ContractBroken(str(file), pointer, rule, error.message) from None
