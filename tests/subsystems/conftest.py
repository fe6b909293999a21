"""The other runtimes, started once for all tests of the subsystems."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.subsystems.everywhere import Elsewhere, elsewhere


@pytest.fixture(scope="session")
def others() -> Iterator[Elsewhere]:
    """Return the runtimes beside Python; skip where there is none."""
    with elsewhere() as found:
        if found is None:
            pytest.skip("needs Elixir, or Node and a built contracts/typescript")
        yield found
