"""What `bridge contracts check` found, for machines: JUnit's XML, GitHub's annotations."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from bridge.contracts.check import Row
from bridge.contracts.places import line_of

# What XML 1.0 has no way to write (2.2, Char).
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(rows: Sequence[Row]) -> str:
    """Return rows as JUnit's XML, which every CI reads: a suite, a case for each row."""
    faults = [row for row in rows if not row.ok]
    suite = ElementTree.Element(
        "testsuite",
        name="bridge contracts check",
        tests=str(len(rows)),
        failures=str(len(faults)),
        errors="0",
    )
    for row in rows:
        group = ".".join(filter(None, [row.check, row.subsystem, row.runtime]))
        case = ElementTree.SubElement(suite, "testcase", classname=group, name=_text(row.what))
        if not row.ok:
            failure = ElementTree.SubElement(case, "failure", message=_text(row.problem))
            named = row.problem.startswith(row.file)  # what is wrong with a contract says where
            failure.text = _text(row.problem if named else f"{row.file}: {row.problem}")
    whole = ElementTree.Element("testsuites")
    whole.append(suite)
    ElementTree.indent(whole)
    return ElementTree.tostring(whole, encoding="unicode", xml_declaration=True) + "\n"


def workflow_commands(rows: Sequence[Row]) -> list[str]:
    """Return a line for each fault that GitHub shows beside the file it is in.

    docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
    """
    return [_annotation(row) for row in rows if not row.ok]


def _annotation(row: Row) -> str:
    title = ", ".join(filter(None, [row.subsystem, row.what, row.runtime]))
    members = {"title": title}
    if row.file:
        members = {"file": os.path.relpath(row.file), "line": str(_line(row)), **members}
    told = ",".join(
        f"{name}={_escaped(value).replace(':', '%3A').replace(',', '%2C')}"
        for name, value in members.items()
    )
    return f"::error {told}::{_escaped(row.problem)}"


def _line(row: Row) -> int:
    try:
        return line_of(Path(row.file).read_text(encoding="utf-8"), row.pointer)
    except (OSError, ValueError, IndexError):  # it is no JSON: that is what the row says
        return 1


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _text(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)
