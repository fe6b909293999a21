"""Names for a contract's definitions in a language that has its own. No I/O here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping


def named(
    names: Iterable[str], taken: Collection[str], of: Callable[[str], str] = str
) -> Mapping[str, str]:
    """Return a name for each, none of them taken, none the same as another's."""
    found: dict[str, str] = {}
    used = set(taken)
    for name in sorted(names):
        own = of(name)
        while own in used:
            own += "_"
        used.add(own)
        found[name] = own
    return found
