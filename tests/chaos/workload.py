"""What the clients ask for."""

from __future__ import annotations

import itertools
from random import Random

from bridge.message import JSON
from tests.chaos.client import Choose

COUNTERS = ("counter:a", "counter:b", "counter:c")
HEARTBEATS = ("heartbeat:x", "heartbeat:y")
WEIGHTS = {
    "add": 50,
    "once": 8,
    "put": 4,
    "notify": 6,
    "later": 8,
    "forget": 3,
    "total": 12,
    "tick": 4,
    "configure": 1,
    "status": 4,
}
LATER_MS = 1500


def chooser(random: Random, topics: list[str]) -> Choose:
    """Return a source of random messages to `topics`."""
    numbers = itertools.count(1)

    def choose() -> tuple[str, str, JSON]:
        operation = random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        of_heartbeat = operation in ("tick", "configure", "status")
        subsystem = "heartbeat" if of_heartbeat else "counter"
        topic = random.choice([each for each in topics if each.startswith(subsystem)])
        return topic, operation, _request(operation, next(numbers), random)

    return choose


def _request(operation: str, n: int, random: Random) -> JSON:
    match operation:
        case "add":
            return {"n": n, "tag": f"t{n}"} if random.random() < 0.8 else {}
        case "once":
            token = random.randint(1, 30)  # clients meet on these: one of them counts
            return {"token": f"token-{token}", "n": token}
        case "put":
            return {"pad": "é" * random.randint(0, 2000)}
        case "notify":
            return {"count": random.randint(1, 4), "unordered": random.random() < 0.3}
        case "later":
            return {"after_ms": random.randint(0, LATER_MS), "n": n}
        case "configure":
            return {
                "every_ms": random.choice([0, 700]),
                "min_gap_ms": random.choice([1, 300]),
                "profile": random.choice(["early", "head"]),
            }
        case _:
            return {}
