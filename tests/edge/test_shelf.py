"""Pages of older events: read once for all who come back."""

from __future__ import annotations

import asyncio

import pytest

from bridge.edge import shelf
from bridge.edge.shelf import Page, Shelf
from bridge.errors import BridgeError
from bridge.journal.positions import order
from bridge.journal.values import Event
from tests.deadline import DEADLINE_S

STREAM = [
    Event(f"s.{n}-0", "counter", f"k{n % 3}", n, 0, f"m{n}/0", "counter.added", {"n": n}, n)
    for n in range(1, 101)
]


class Reads:
    """The stream by pages of ten; `at` are the positions it was read after."""

    def __init__(self) -> None:
        self.at: list[str] = []
        self.error: BridgeError | None = None
        self.gone = False

    async def __call__(self, position: str) -> list[Event] | None:
        self.at.append(position)
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return (
            None if self.gone else [e for e in STREAM if order(e.position) > order(position)][:10]
        )


async def all_after(pages: Shelf, position: str, key: str) -> list[int]:
    found: list[int] = []
    while (page := await pages.page(position)) is not None and page.end != position:
        found += [event.seq for event in page.after(position, key)]
        position = page.end
    return found


def expected(after: int, key: int) -> list[int]:
    return [n for n in range(after + 1, 101) if n % 3 == key]


def test_who_comes_back_from_anywhere_gets_all_of_its_key_and_each_page_is_read_once() -> None:
    async def test() -> None:
        reads = Reads()
        pages = Shelf(reads, 4)
        found = await asyncio.gather(
            *(all_after(pages, f"s.{n}-0", f"k{n % 3}") for n in range(60))
        )
        assert found == [expected(n, n % 3) for n in range(60)]
        assert len(reads.at) < 60  # who read alone would need 450

    asyncio.run(test())


def test_a_page_is_not_kept_when_nobody_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        reads = Reads()
        pages = Shelf(reads, 4)
        await pages.page("s.0-0")
        await pages.page("s.5-0")
        assert reads.at == ["s.0-0"]
        monkeypatch.setattr(shelf, "KEEP_S", 0.0)
        await pages.page("s.5-0")
        assert reads.at == ["s.0-0", "s.5-0"]

    asyncio.run(test())


def test_a_page_of_another_storage_is_nobodys() -> None:
    async def test() -> None:
        reads = Reads()
        pages = Shelf(reads, 4)
        await pages.page("s.0-0")
        await pages.page("other.5-0")
        assert reads.at == ["s.0-0", "other.5-0"]

    asyncio.run(test())


def test_a_read_that_fails_fails_for_who_made_it_and_the_others_make_their_own() -> None:
    async def test() -> None:
        reads = Reads()
        reads.error = BridgeError("storage_unavailable", "away")
        pages = Shelf(reads, 4)
        both = await asyncio.gather(
            *(pages.page("s.0-0") for _ in range(2)), return_exceptions=True
        )
        assert both == [reads.error, reads.error]
        reads.error = None
        page = await pages.page("s.0-0")
        assert isinstance(page, Page)

    asyncio.run(test())


def test_a_reader_that_is_cancelled_leaves_the_page_to_the_next() -> None:
    async def test() -> None:
        reads = Reads()
        pages = Shelf(reads, 4)
        first = asyncio.create_task(pages.page("s.0-0"))
        second = asyncio.create_task(pages.page("s.0-0"))
        await asyncio.sleep(0)
        first.cancel()
        async with asyncio.timeout(DEADLINE_S):
            page = await second
        assert page is not None
        assert page.end == "s.10-0"

    asyncio.run(test())


def test_what_is_gone_is_gone_for_all() -> None:
    async def test() -> None:
        reads = Reads()
        reads.gone = True
        pages = Shelf(reads, 4)
        assert await asyncio.gather(*(pages.page("s.0-0") for _ in range(3))) == [None] * 3
        assert reads.at == ["s.0-0"]

    asyncio.run(test())
