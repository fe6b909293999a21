"""The pages of a Phoenix node: behind the same token as sockets, drawn from what workers tell."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.cookiejar import CookieJar

import pytest

from tests.edge.phoenix import PhoenixNode, Worker, phoenix_node
from tests.edge.rig import run


@pytest.fixture(scope="module")
def phoenix() -> Iterator[PhoenixNode]:
    with phoenix_node() as started:
        yield started


class Browser:
    """What remembers cookies, and runs no script."""

    def __init__(self, worker: Worker) -> None:
        self._url = f"http://127.0.0.1:{worker.port}"
        cookies = urllib.request.HTTPCookieProcessor(CookieJar())
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), cookies)

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        return await asyncio.to_thread(self._get, path, headers)

    def _get(self, path: str, headers: dict[str, str]) -> tuple[int, str]:
        request = urllib.request.Request(self._url + path, headers=headers)
        try:
            with self._opener.open(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read().decode()


def test_the_overview_shows_subsystems_and_workers(phoenix: PhoenixNode) -> None:
    async def main() -> None:
        async with phoenix.worker("one") as one:
            status, page = await Browser(one).get("/")
            assert status == 200
            assert 'href="/subsystems/counter"' in page
            assert "<code>one</code>" in page
            status, page = await Browser(one).get("/subsystems/counter?key=a")
            assert status == 200
            assert 'value="a"' in page

    run(main())


def test_pages_need_the_token_once(phoenix: PhoenixNode) -> None:
    async def main() -> None:
        async with phoenix.worker("one", token="secret") as one:
            browser = Browser(one)
            assert (await browser.get("/"))[0] == 401
            assert (await browser.get("/?token=wrong"))[0] == 401
            assert (await browser.get("/subsystems/counter"))[0] == 401
            assert (await browser.get("/?token=secret"))[0] == 200
            assert (await browser.get("/subsystems/counter"))[0] == 200
            assert (await Browser(one).get("/", Authorization="Bearer secret"))[0] == 200

    run(main())


def test_the_dashboard_of_live_view_is_behind_it_too(phoenix: PhoenixNode) -> None:
    async def main() -> None:
        async with phoenix.worker("one", token="secret") as one:
            browser = Browser(one)
            assert (await browser.get("/dashboard/home"))[0] == 401
            status, page = await browser.get("/dashboard/home?token=secret")
            assert (status, "Phoenix LiveDashboard" in page) == (200, True)

    run(main())


def test_pages_are_not_shown_under_the_name_of_another_machine(phoenix: PhoenixNode) -> None:
    async def main() -> None:
        async with phoenix.worker("one") as one:
            assert (await Browser(one).get("/", Host="rebound.example"))[0] == 403

    run(main())


def test_without_a_worker_a_page_says_so(phoenix: PhoenixNode) -> None:
    async def main() -> None:
        async with phoenix.worker("one") as one:
            one.die()
            await one.mourned()
            status, text = await Browser(one).get("/")
            assert (status, "no gateway worker is connected" in text) == (503, True)

    run(main())
