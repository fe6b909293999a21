"""A history without faults, for the tests to change."""

from __future__ import annotations

from random import Random

import pytest

from tests.history.world import World


@pytest.fixture
def world() -> World:
    """Two clients, one key, and no faults: add, add, add by ann; add by bob; events and mail."""
    world = World(Random(0))
    ann, bob = world.clients
    for client in world.clients:
        world.join(client, resumed=False)
    for client, count in ((ann, 3), (bob, 1)):
        for _ in range(count):
            world.sent += 1
            client.open[f"m{world.sent}"] = ("add", {"n": world.sent})
            world.attempt(client, f"m{world.sent}")
        while client.wire:
            _, message_id, operation, request = client.wire.popleft()
            entry = world.commit(message_id, operation, request)
            entry.update(runtime="python", reason="owner")
            world.told(client, message_id, 1, "ok", entry["reply"])
    for client in world.clients:
        world.deliver(client, len(world.stream))
    for body in world.outbox:
        world.executed.append({name: body.effect[name] for name in ("name", "data", "id")})
    world.outbox.clear()
    assert world.check() == []
    return world
