"""What Redis will not do, and why: told from its error texts. No I/O here."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bridge.redis.address import Address
from bridge.redis.connection import Rejected

# Errors after which Redis did nothing and may do it later (redis/src/server.c, processCommand).
UNAVAILABLE = frozenset(
    (
        "LOADING",
        "READONLY",
        "MASTERDOWN",
        "BUSY",
        "OOM",
        "MISCONF",
        "NOREPLICAS",
        "CLUSTERDOWN",
        "TRYAGAIN",
        "UNBLOCKED",
        "NOAUTH",
        "NOPERM",
    )
)
# An ACL's no to a command in a script: 6.2; 7.0 and later; 8 (redis/src/script.c, acl.c).
_NOT_ALLOWED = re.compile(
    r"can't run this command|can't access at least one|ACL failure in script|NOPERM"
    r"|has no permissions"
)


class Refused(Rejected):
    """Redis does not let the bridge write, and nothing was written."""

    def __init__(self, address: Address, text: str, commands: Sequence[str] = ()) -> None:
        super().__init__(text)
        names = ", ".join(commands)
        why = (
            f"its ACL does not allow {names}: `ACL SETUSER <user> "
            f"{' '.join('+' + name.lower() for name in commands)}`"
            if commands
            else text
        )
        self.args = (f"{address} refuses what the bridge has to write: {why}",)
        self.commands = tuple(commands)
        self.code = "NOPERM" if commands else self.code


def is_not_allowed(text: str) -> bool:
    """Say whether an error means that the user may not do it."""
    return _NOT_ALLOWED.search(text) is not None


def is_refusal(error: Rejected) -> bool:
    """Say whether an error stands for all that is written, not for one key or message."""
    return error.code in UNAVAILABLE or is_not_allowed(str(error))


def refused_of(address: Address, found: Sequence[bytes]) -> Refused | None:
    """Read the answer of the probe: names and errors of what was refused."""
    errors = {
        name.decode(): error.decode() for name, error in zip(found[::2], found[1::2], strict=True)
    }
    if not errors:
        return None
    commands = [name for name, text in errors.items() if is_not_allowed(text)]
    return Refused(address, next(iter(errors.values())), commands)
