"""The plan of a move as people write it: `shadow:500,canary:5,25,50,100`. No I/O here."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bridge.moves.machine import Step, refused

DEFAULT = "shadow:500,canary:5,25,50,100"
COMPARISONS = 500  # of a shadow that names no number
ANSWERS = 50  # of the candidate in each step of a canary, unless asked otherwise
_PART = re.compile(r"(?:(shadow|canary)(?::|$))?(\d{1,7})?", re.ASCII)


def parse_plan(text: str, answers: int = ANSWERS) -> tuple[Step, ...]:
    """Read a plan; a number without a name belongs to the name before it.

    `shadow:N` wants N comparisons, `canary:N` gives N percent to the candidate until it has
    answered `answers` messages. Raises BridgeError `invalid_request`.
    """
    steps: list[Step] = []
    name = ""
    for part in text.replace(" ", "").split(","):
        found = _PART.fullmatch(part)
        if found is None or not part:
            raise _bad(text, f"{part!r} is neither shadow[:N] nor canary:N nor a number")
        name, number = found[1] or name, found[2]
        if name == "shadow":
            if steps:
                raise _bad(text, "a shadow comes first, and once")
            steps.append(Step("shadow", 0, int(number or COMPARISONS)))
        elif name == "canary" and number:
            steps.append(Step("canary", int(number), answers))
        else:
            raise _bad(text, f"{part!r} wants a share: canary:N")
    _check(text, steps, answers)
    return tuple(steps)


def _check(text: str, steps: Sequence[Step], answers: int) -> None:
    shares = [step.share for step in steps if step.phase == "canary"]
    if any(not 1 <= share <= 100 for share in shares):
        raise _bad(text, "a share is 1 to 100 percent")
    if shares != sorted(set(shares)):
        raise _bad(text, "shares grow from step to step")
    if answers < 1 or any(step.samples < 1 for step in steps):
        raise _bad(text, "each step wants at least one sample")


def _bad(text: str, why: str) -> Exception:
    return refused(f"plan {text!r}: {why}, expected for example {DEFAULT}", expected=DEFAULT)
