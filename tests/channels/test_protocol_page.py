"""docs/protocol.md says what the code does: codes, close codes, settings."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from bridge.channels import session
from bridge.errors import CODES
from bridge.settings import PREFIX, Settings

PAGE = (Path(__file__).parents[2] / "docs/protocol.md").read_text()


def test_the_error_codes_are_those_of_the_page() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (yes|no) \| (.+) \|$", PAGE, re.MULTILINE)
    assert {code: (answer == "yes", text) for code, answer, text in rows} == CODES


def test_the_close_codes_are_those_of_the_page() -> None:
    rows = {int(code) for code in re.findall(r"^\| (1\d{3}|4\d{3}) \| ", PAGE, re.MULTILINE)}
    ours = {value for name, value in vars(session).items() if name.startswith("CLOSE_")}
    assert ours == {1003, 1008, 1012, 1013, 4408}
    assert rows == ours | {1007, 1009}


def test_the_settings_on_the_page_exist() -> None:
    named = set(re.findall(PREFIX + r"[A-Z_]+", PAGE))
    assert named <= {PREFIX + f.name.upper() for f in fields(Settings)}
