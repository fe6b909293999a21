"""docs/architecture.md names the keys that the scripts use."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")


def test_the_keys_of_the_services_are_those_of_the_page() -> None:
    sources = (ROOT / "contracts/typescript/src").glob("*.ts")
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    for name in re.findall(r"joelclaw:bridge:([a-z:]+)", text):
        assert f"`joelclaw:bridge:{name.rstrip(':')}" in PAGE, name
    for name in re.findall(r"\$\{prefix\}:([a-z:]+)", text):
        assert f"`{name}" in PAGE, name


def test_the_keys_of_the_scripts_are_those_of_the_page() -> None:
    used = {
        name
        for script in (ROOT / "bridge/journal/lua").glob("*.lua")
        if script.stem != "probe"  # its keys are its own
        for name in re.findall(r"P \.\. '([a-z:]+)'", script.read_text(encoding="utf-8"))
    }
    table = PAGE.partition("| key | type | holds |")[2].partition("\n\n")[0]
    first = [row.split("|")[1] for row in table.splitlines()[2:]]
    named = {name for cell in first for name in re.findall(r"`([a-z:]+)", cell)}
    of_services = {"runtime:typescript", "requests:typescript", "activities:"}
    written = named - of_services
    assert {name.rstrip(":") for name in used} == {name.rstrip(":") for name in written}
