"""Two outcomes of one message, compared under a contract's rules. No I/O here.

docs/moves.md has the rule table, contracts/vectors/comparison its cases.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from bridge.canonical import canonical, escape, json_type

MOST = 20  # differences told of one message
SHOWN = 80  # characters of a value that a sample shows
# A comparison runs in the worker's loop: pairs of items that one tries, of all arrays together.
EFFORT = 10_000
NEAR = 50  # what trying one pair within a tolerance counts as
_GONE = object()

Path = tuple[str, ...]  # tokens of a pointer; `*` is any item of a list, or member of a map


class Difference(NamedTuple):
    """Where, of which kind, and the two values as they may be shown."""

    pointer: str
    kind: str
    owner: str
    candidate: str


@dataclass(frozen=True, slots=True)
class Rules:
    """A contract's `compare`; `names` are the members its schemas declare, all others are keys
    of maps and stand as `*` in the pointers of differences.
    """

    volatile: frozenset[Path] = frozenset()
    unordered: frozenset[Path] = frozenset()
    tolerance: Mapping[Path, float] | None = None
    sensitive: frozenset[Path] = frozenset()
    names: frozenset[str] | None = None

    @classmethod
    def of_json(cls, rules: Mapping[str, Any], names: frozenset[str] | None = None) -> Rules:
        return cls(
            volatile=frozenset(map(path_of, rules.get("volatile", ()))),
            unordered=frozenset(map(path_of, rules.get("unordered", ()))),
            tolerance={path_of(p): t for p, t in rules.get("tolerance", {}).items()},
            sensitive=frozenset(map(path_of, rules.get("sensitive", ()))),
            names=names,
        )


def path_of(pointer: str) -> Path:
    """Read a JSON pointer (RFC 6901); the empty one is the whole."""
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:])


def compare(
    rules: Rules, owner: Mapping[str, Any], candidate: Mapping[str, Any]
) -> list[Difference]:
    """Return up to 20 differences of two outcomes, the first ones found.

    An outcome is `{reply, effects, state}`, of a query `{reply}`, `{refused: {reason, message,
    detail}}`, or, of the candidate alone, `{fault: {kind, message}}`.
    """
    if canonical(owner) == canonical(candidate):
        return []
    if "fault" in candidate:
        fault = candidate["fault"]
        return [Difference("", fault["kind"], _what(owner), _cut(fault["message"]))]
    if ("refused" in owner) != ("refused" in candidate):
        kind = "refused" if "refused" in candidate else "answered"
        return [Difference("", kind, _what(owner), _what(candidate))]
    found: list[Difference] = []
    for difference in _Walk(rules, EFFORT).members((), owner, candidate):
        found.append(difference)
        if len(found) == MOST:
            break
    return found


@dataclass(slots=True)
class _Walk:
    rules: Rules
    effort: int  # that is left

    def value(self, path: Path, owner: Any, candidate: Any) -> Iterator[Difference]:
        rules = self.rules
        if _matches(rules.volatile, path):
            return
        kinds = _type(owner), _type(candidate)
        if kinds[0] != kinds[1]:
            yield self.difference(path, "type", owner, candidate)
        elif kinds[0] == "object":
            yield from self.members(path, owner, candidate)
        elif kinds[0] == "array":
            yield from self.items(path, owner, candidate)
        elif owner != candidate and not self.near(path, owner, candidate):
            yield self.difference(path, "value", owner, candidate)

    def near(self, path: Path, owner: Any, candidate: Any) -> bool:
        if _type(owner) != "number" or not self.rules.tolerance:
            return False
        limits = [t for p, t in self.rules.tolerance.items() if _fits(p, path)]
        return bool(limits) and abs(owner - candidate) <= max(limits)

    def members(
        self, path: Path, owner: Mapping[str, Any], candidate: Mapping[str, Any]
    ) -> Iterator[Difference]:
        for name in sorted(owner.keys() | candidate.keys()):
            below = (*path, name)
            mine, theirs = owner.get(name, _GONE), candidate.get(name, _GONE)
            if mine is not _GONE and theirs is not _GONE:
                yield from self.value(below, mine, theirs)
            elif not _matches(self.rules.volatile, below):
                kind = "extra" if mine is _GONE else "missing"
                yield self.difference(below, kind, mine, theirs)

    def items(
        self, path: Path, owner: Sequence[Any], candidate: Sequence[Any]
    ) -> Iterator[Difference]:
        """Align what is alike in order, then what is alike elsewhere, then what is left over."""
        below, unordered = (*path, "*"), _matches(self.rules.unordered, path)
        mine = [self.key(below, item) for item in owner]
        theirs = [self.key(below, item) for item in candidate]
        paired = self.aligned(mine, theirs)
        left = set(range(len(mine))) - {n for n, _ in paired}
        spare = set(range(len(theirs))) - {there for _, there in paired}
        elsewhere = _elsewhere(mine, theirs, left, spare)
        if elsewhere and not unordered:
            yield self.difference(path, "order", owner, candidate)
        left -= {n for n, _ in elsewhere}
        spare -= {there for _, there in elsewhere}
        odd, other = sorted(left), sorted(spare)
        if unordered:
            odd.sort(key=lambda n: _rank(owner[n], mine[n]))
            other.sort(key=lambda there: _rank(candidate[there], theirs[there]))
        if self.rules.tolerance:
            self.drop_near(below, owner, candidate, odd, other)
        for n, there in zip(odd, other, strict=False):
            yield from self.value(below, owner[n], candidate[there])
        for n in odd[len(other) :]:
            yield self.difference(below, "missing", owner[n], _GONE)
        for there in other[len(odd) :]:
            yield self.difference(below, "extra", _GONE, candidate[there])

    def aligned(self, mine: Sequence[bytes], theirs: Sequence[bytes]) -> list[tuple[int, int]]:
        """Pair equal items in the order both have them, at a cost that is bounded."""
        short = min(len(mine), len(theirs))
        head = next((n for n in range(short) if mine[n] != theirs[n]), short)
        ends = range(1, short - head + 1)
        tail = next((n - 1 for n in ends if mine[-n] != theirs[-n]), short - head)
        paired = [(n, n) for n in range(head)]
        paired += [(len(mine) - n, len(theirs) - n) for n in range(1, tail + 1)]
        one, other = mine[head : len(mine) - tail], theirs[head : len(theirs) - tail]
        cells = len(one) * len(other)
        if cells > self.effort:
            return paired + [(head + n, head + there) for n, there in _in_order(one, other)]
        self.effort -= cells
        blocks = SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks()
        return paired + [
            (head + n + k, head + there + k) for n, there, size in blocks for k in range(size)
        ]

    def drop_near(
        self,
        below: Path,
        owner: Sequence[Any],
        candidate: Sequence[Any],
        odd: list[int],
        other: list[int],
    ) -> None:
        """Drop the pairs that are as good as equal: first in their order, then anywhere."""
        for n, there in list(zip(odd, other, strict=False)):
            if not any(self.value(below, owner[n], candidate[there])):
                odd.remove(n)
                other.remove(there)
        for n in list(odd):
            for there in other:
                if self.effort < NEAR:
                    return
                self.effort -= NEAR
                if not any(self.value(below, owner[n], candidate[there])):
                    odd.remove(n)
                    other.remove(there)
                    break

    def key(self, path: Path, value: Any) -> bytes:
        return canonical(self.stripped(path, value))

    def stripped(self, path: Path, value: Any) -> Any:
        """Return the value without what is volatile in it, unordered lists sorted."""
        if isinstance(value, dict):
            return {
                name: self.stripped((*path, name), member)
                for name, member in value.items()
                if not _matches(self.rules.volatile, (*path, name))
            }
        if isinstance(value, list):
            items = [self.stripped((*path, "*"), item) for item in value]
            return sorted(items, key=canonical) if _matches(self.rules.unordered, path) else items
        return value

    def difference(self, path: Path, kind: str, owner: Any, candidate: Any) -> Difference:
        hidden = any(_matches(self.rules.sensitive, path[:n]) for n in range(len(path) + 1))
        names = self.rules.names
        shown = (
            token if depth == 0 or names is None or token in names else "*"
            for depth, token in enumerate(path)
        )
        show = _hidden if hidden else _shown
        pointer = "".join(f"/{escape(token)}" for token in shown)
        return Difference(pointer, kind, show(owner), show(candidate))


def _in_order(mine: Sequence[bytes], theirs: Sequence[bytes]) -> list[tuple[int, int]]:
    """Pair each item of the shorter list with the next equal one of the longer.

    Exact where items are only missing or extra; else it may pair fewer than it could.
    """
    if len(mine) > len(theirs):
        return [(n, there) for there, n in _in_order(theirs, mine)]
    places = _places(theirs, range(len(theirs)))
    paired, last = list[tuple[int, int]](), -1
    for n, item in enumerate(mine):
        there = places.get(item, deque())
        while there and there[0] <= last:
            there.popleft()
        if there:
            last = there.popleft()
            paired.append((n, last))
    return paired


def _elsewhere(
    mine: Sequence[bytes], theirs: Sequence[bytes], left: set[int], spare: set[int]
) -> list[tuple[int, int]]:
    """Pair what is equal, wherever it is."""
    places = _places(theirs, sorted(spare))
    return [(n, places[mine[n]].popleft()) for n in sorted(left) if places.get(mine[n])]


def _places(items: Sequence[bytes], of: Iterable[int]) -> dict[bytes, deque[int]]:
    places: dict[bytes, deque[int]] = {}
    for n in of:
        places.setdefault(items[n], deque()).append(n)
    return places


def _rank(value: Any, key: bytes) -> tuple[int, float, bytes]:
    """Order numbers by value, so that near ones meet, and all else by its bytes."""
    return (0, value, key) if _type(value) == "number" else (1, 0, key)


def _matches(patterns: Iterable[Path], path: Path) -> bool:
    return any(_fits(pattern, path) for pattern in patterns)


def _fits(pattern: Path, path: Path) -> bool:
    return len(pattern) == len(path) and all(
        want in ("*", token) for want, token in zip(pattern, path, strict=True)
    )


def _type(value: Any) -> str:
    kind = json_type(value)
    return "number" if kind == "integer" else kind


def _what(outcome: Mapping[str, Any]) -> str:
    refused = outcome.get("refused")
    return f"refused: {_cut(refused['reason'])}" if refused else "a reply"


def _shown(value: Any) -> str:
    """Show scalars, cut; of containers only what they are: their contents may be sensitive."""
    if value is _GONE:
        return "nothing"
    if isinstance(value, dict):
        return f"object of {len(value)} members"
    if isinstance(value, list):
        return f"array of {len(value)} items"
    return _cut(canonical(value).decode())


def _hidden(value: Any) -> str:
    if value is _GONE:
        return "nothing"
    size = f" of {len(value)}" if isinstance(value, str | list | dict) else ""
    return f"({json_type(value)}{size}, sensitive)"


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
