"""The pages of a Phoenix node in a real browser."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.edge.phoenix import needs_phoenix, phoenix_node
from tests.edge.phoenix_js import has_phoenix_js, node, passes
from tests.edge.rig import run

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)


@has_phoenix_js
@pytest.mark.skipif(not BROWSER, reason="needs a browser: `apt-get install chromium`")
def test_the_pages_are_live_and_fit_the_screen(tmp_path: Path) -> None:
    needs_phoenix()  # compiled before the clock runs

    async def main() -> None:
        with phoenix_node() as phoenix:
            async with phoenix.worker("one", token="secret") as one:
                await passes(await node("pages.mjs", str(one.port), BROWSER, str(tmp_path)))

    run(main())
