"""`bridge reload`: serve a subsystem's implementations as their files are now."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

from bridge.client import NotReached
from bridge.contracts.files import contract_folders
from bridge.contracts.implementations import of_settings
from bridge.contracts.registry import Registry
from bridge.errors import BridgeError, ContractBroken
from bridge.journal.redis import RedisJournal
from bridge.message import RuntimeName
from bridge.settings import Settings
from bridge.up import builds, environment, programs, yours
from bridge.up.admin import fetch, served_by
from bridge.up.listener import RequestFailed
from bridge.up.supervisor import Child

Hot = Callable[[str, float], Awaitable[str]]

BACK_S = 20.0
HOT_S = 30.0
SERVED_S = 10.0
LOOK_S = 0.1


async def reload(
    subsystem: str,
    given: Settings,
    served: Settings,
    children: Mapping[RuntimeName, Child],
    url: str,
    hot: Hot | None = None,
) -> AsyncIterator[str]:
    """Keep the files as they are now, have all that run them load them, change the route.

    `given` names the files, `served` what is kept of them; `children` are the processes of
    runtimes that load at their start: they are started again, but for a node that serves the
    subsystem already, which loads its code as it runs (`hot`). Yields what was done. Raises
    RequestFailed before anything is changed, or at the end for a runtime that did not come back
    with the subsystem.
    """
    where, fresh = await _checked(subsystem, given, served, children)
    before = _digests(subsystem, given)
    builds.take(given, fresh, subsystem)
    absent = []
    more: dict[str, str] = {}
    running = await asyncio.to_thread(_serves, subsystem, url, given) if hot else False
    for runtime, child in children.items():
        if runtime == "elixir" and runtime in where and hot and running:
            more[runtime] = (await hot(subsystem, HOT_S)).partition(";")[2]
        elif runtime in where:
            again = await child.restart(BACK_S)
            if not (again and await _is_served(subsystem, runtime, url, given)):
                absent.append(f"{runtime} does not serve {subsystem}: see {child.program.log}")
    builds.take_python(given, fresh)
    # Last: whoever commits under the new epoch has looked at what is kept before.
    await _change_epoch(subsystem, served)
    after = _digests(subsystem, given)
    for name in sorted(where):
        was, now = before.get(name, "none"), after.get(name, "none")
        if name not in ("python", *children):
            yield f"{name}: not started by this bridge, so start it again yourself"
        else:
            changed = f"{now}, as before" if was == now else f"{was} -> {now}"
            yield f"{name}: {changed}{';' + more[name] if more.get(name) else ''}"
    if absent:
        raise RequestFailed("; ".join(absent))


async def _checked(
    subsystem: str, given: Settings, served: Settings, children: Mapping[RuntimeName, Child]
) -> tuple[dict[str, str], Path]:
    try:
        names = Registry.load(*contract_folders(served)).names()
        known = of_settings(given, names, [])
        if subsystem not in known:
            raise RequestFailed(f"no implementation of {subsystem!r}, of {', '.join(known)}")
        fresh = builds.again(given, subsystem, known[subsystem])
        env, why = environment.shared(os.environ, served), ""
        if "python" in known[subsystem] and given.implementations:
            file = given.implementations
            why = await yours.import_python(Path(file), str(fresh), env, subsystem)
        for runtime, child in children.items():
            if runtime in known[subsystem] and not why:
                file = known[subsystem][runtime]
                source = fresh / "elixir" / f"{subsystem}.ex"
                argv = programs.check(runtime, child.program.argv, file, source)
                why = await yours.not_loadable(file, argv, env, child.program.cwd)
        if why:
            raise RequestFailed(f"{why}; all goes on as it was")
    except (ContractBroken, OSError) as error:
        raise RequestFailed(f"{error}; all goes on as it was") from error
    return known[subsystem], fresh


def _digests(subsystem: str, given: Settings) -> dict[str, str]:
    return {r: build.digest for s, r, build in builds.kept(Path(given.dir)) if s == subsystem}


async def _is_served(subsystem: str, runtime: RuntimeName, url: str, given: Settings) -> bool:
    deadline = time.monotonic() + SERVED_S
    while time.monotonic() < deadline:
        try:
            status = await asyncio.to_thread(fetch, f"{url}/admin/status", given.token)
        except NotReached:
            status = None
        # A service keeps what it loads, so what it keeps tells that it is the new one.
        kept = runtime != "typescript" or runtime in _digests(subsystem, given)
        if kept and subsystem in (served_by(status, runtime) or ()):
            return True
        await asyncio.sleep(LOOK_S)
    return False


def _serves(subsystem: str, url: str, given: Settings) -> bool:
    try:
        status = fetch(f"{url}/admin/status", given.token)
    except NotReached:
        return False
    return subsystem in (served_by(status, "elixir") or ())


async def _change_epoch(subsystem: str, served: Settings) -> None:
    journal = RedisJournal(served.redis_url)
    try:
        for route in await journal.routes():
            if route.subsystem == subsystem:
                await journal.renew_route(subsystem)
    except BridgeError as error:
        raise RequestFailed(f"workers go on as they were until their restart: {error}") from error
    finally:
        await journal.close()
