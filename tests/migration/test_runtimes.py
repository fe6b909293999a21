"""`migrate` in every runtime that is here: the scenarios with a state of an older version."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.up.programs import Missing, elixir, search_path, typescript
from tests.running import bridge

TWO = Path(__file__).parent / "two"


def here() -> list[str]:
    path = search_path()
    found = {"typescript": typescript(path), "elixir": elixir(path)}
    return ["python", *(name for name, way in found.items() if not isinstance(way, Missing))]


@pytest.mark.parametrize(
    ("total", "said"), [(700, ""), (701, "(migrate): /state/minor: expected 701, got 700")]
)
def test_each_runtime_migrates_the_same(tmp_path: Path, total: int, said: str) -> None:
    folder = tmp_path / "two"
    for file in TWO.glob("*/*.*"):
        kept = folder / file.parent.name / file.name
        kept.parent.mkdir(parents=True, exist_ok=True)
        text = file.read_text()
        if file.name == "scenarios.json":
            text = text.replace(
                '"migrated": {\n        "minor": 700', f'"migrated": {{"minor": {total}'
            )
        kept.write_text(text)
    (folder / "implementations.json").write_text((TWO / "implementations.json").read_text())
    done = bridge(
        tmp_path,
        *("contracts", "check", "--contracts", str(folder)),
        *("--implementations", str(folder / "implementations.json")),
        *("--require", ",".join(here())),
    )
    told = [line for line in done.stdout.splitlines() if "A total of the first" in line]
    if said:
        assert done.returncode == 1
        assert sum(said in line for line in told) == len(here())
    else:
        assert done.returncode == 0, done.stdout
        assert len(told) == len(here())
