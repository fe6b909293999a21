"""Regular expressions of JavaScript rewritten in the subset that contracts use. No I/O here.

The subset (contracts/meta/subset.json) has printable ASCII, classes of it, groups, repeats, and
one `^` and `$` around the whole. What says the same in it is rewritten exactly; of the rest there
is the narrowest pattern that matches everything the original matches, and more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

PRINTABLE = frozenset(map(chr, range(0x20, 0x7F)))
ANY = "(?:[^a]|a)"
_DIGITS = frozenset("0123456789")
_WORD = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_") | _DIGITS
# Characters beyond printable ASCII, in two parts: \s takes the first, \S the second.
_SPACES, _OTHERS = "s", "S"
_BEYOND = frozenset({_SPACES, _OTHERS})
_SYNTAX = frozenset("^$.|?*+()[]{}/\\")
_REPEAT = re.compile(r"(?:[*+?]|\{[0-9]+(?:,[0-9]*)?\})\??")
_CODE = re.compile(r"x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|u\{([0-9A-Fa-f]{1,6})\}")
_CONTROL = re.compile(r"[tnvfr0]|c[A-Za-z]")


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A pattern of the subset; not `exact`: it matches more than the original."""

    pattern: str
    exact: bool


def rewrite(pattern: str) -> Rewritten | None:
    """Return a pattern of the subset that matches at least what `pattern` does.

    None: there is none short of one that matches everything, or `pattern` is no pattern.
    """
    reading = _Reading(pattern)
    try:
        alternatives = reading.alternatives()
    except _Unknown:
        return None
    if reading.at < len(pattern):
        return None
    return Rewritten(_anchored(alternatives), reading.exact)


class _Unknown(Exception):
    """A construct without a counterpart."""


@dataclass(frozen=True, slots=True)
class _Set:
    """Characters: printable ones by name, those beyond by part; not `exact`: fewer beyond."""

    printable: frozenset[str] = frozenset()
    beyond: frozenset[str] = frozenset()
    exact: bool = True

    def __or__(self, other: _Set) -> _Set:
        beyond = self.beyond | other.beyond
        # Both parts: nothing is left that could be missing from it.
        exact = (self.exact and other.exact) or (beyond == _BEYOND and self._whole_with(other))
        return _Set(self.printable | other.printable, beyond, exact)

    def _whole_with(self, other: _Set) -> bool:
        parts = [s.beyond for s in (self, other) if s.exact]
        return frozenset().union(*parts) == _BEYOND

    def inverted(self) -> _Set:
        # Of what may be beyond, all may be left.
        beyond = _BEYOND - self.beyond if self.exact else _BEYOND
        return _Set(PRINTABLE - self.printable, beyond, self.exact)

    def text(self) -> tuple[str, bool]:
        """Return a class of the subset, and whether it is just this set."""
        if not self.beyond:
            if not self.printable:
                raise _Unknown
            return f"[{_ranges(self.printable)}]", self.exact
        exact = self.exact and self.beyond == _BEYOND
        left_out = PRINTABLE - self.printable
        return (f"[^{_ranges(left_out)}]" if left_out else ANY), exact


_CLASSES = {"d": _Set(_DIGITS), "w": _Set(_WORD), "s": _Set(frozenset(" "), frozenset({_SPACES}))}
_SHORTHANDS = _CLASSES | {name.upper(): found.inverted() for name, found in _CLASSES.items()}
# JavaScript's dot leaves out four line ends, which are beyond.
_DOT = _Set(PRINTABLE, _BEYOND, exact=False)
_UNPRINTABLE = _Set(frozenset(), _BEYOND, exact=False)


@dataclass(slots=True)
class _Alternative:
    """One alternative: its terms, and whether it is anchored."""

    terms: list[str] = field(default_factory=list)
    start: bool = False
    end: bool = False


class _Reading:
    """One reading of a pattern, from left to right."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.exact = True

    def alternatives(self) -> list[_Alternative]:
        found = [self.alternative()]
        while self.taken("|"):
            found.append(self.alternative())
        return found

    def alternative(self) -> _Alternative:
        read = _Alternative()
        while self.taken("^"):
            read.start = True
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)":
            if self.taken("$"):
                read.end = True
            elif read.end or self.pattern[self.at] == "^":
                raise _Unknown  # an anchor in the middle
            else:
                read.terms.append(self.term())
        return read

    def term(self) -> str:
        atom = self.atom()
        repeat = _REPEAT.match(self.pattern, self.at)
        if repeat is None:
            return atom
        self.at = repeat.end()
        if not atom or any(len(digits) > 4 for digits in re.findall("[0-9]+", repeat[0])):
            raise _Unknown
        return atom + (repeat[0] if len(repeat[0]) == 1 else repeat[0].removesuffix("?"))

    def atom(self) -> str:
        character = self.next()
        match character:
            case "(":
                return self.group()
            case "[":
                return self.put(self.class_())
            case ".":
                return self.put(_DOT)
            case "\\":
                return self.escape()
            case "*" | "+" | "?":
                raise _Unknown
        return self.character(character)

    def group(self) -> str:
        if self.taken("?"):
            name = re.compile(r"<[A-Za-z_$][\w$]*>", re.ASCII).match(self.pattern, self.at)
            if name is not None:
                self.at = name.end()
            elif not self.taken(":"):
                raise _Unknown  # looking around, or a flag
        inside = self.alternatives()
        if not self.taken(")") or any(a.start or a.end for a in inside):
            raise _Unknown
        return f"(?:{_joined(inside)})"

    def escape(self) -> str:
        """Read what follows a backslash outside a class."""
        if self.pattern[self.at : self.at + 1] in ("b", "B"):
            self.at += 1
            self.exact = False
            return ""  # without the word's edge it matches more
        found = self.escaped()
        return self.put(found) if isinstance(found, _Set) else self.character(found)

    def escaped(self) -> _Set | str:
        """Read an escape that means the same inside a class: a set, or one character."""
        if code := _CODE.match(self.pattern, self.at):
            self.at = code.end()
            return chr(min(int(code[1] or code[2] or code[3], 16), 0x10FFFF))
        if control := _CONTROL.match(self.pattern, self.at):
            self.at = control.end()
            return "\n"  # one that is not printable, like any other
        character = self.next()
        if character in _SHORTHANDS:
            return _SHORTHANDS[character]
        if character in _SYNTAX or character == "-" or not character.isalnum():
            return character
        raise _Unknown  # a reference back, a property, or nothing known

    def class_(self) -> _Set:
        negative = self.taken("^")
        found = _Set()
        while not self.taken("]"):
            low = self.member()
            if self.pattern[self.at : self.at + 1] == "-" and not self.ends_in("-]"):
                self.at += 1
                high = self.member()
                if isinstance(low, _Set) or isinstance(high, _Set) or low > high:
                    raise _Unknown
                found |= _range(low, high)
            else:
                found |= low if isinstance(low, _Set) else _range(low, low)
        return found.inverted() if negative else found

    def member(self) -> _Set | str:
        character = self.next()
        if character != "\\":
            return character
        if self.taken("b"):
            return "\b"
        return self.escaped()

    def put(self, found: _Set) -> str:
        text, exact = found.text()
        self.exact = self.exact and exact
        return text

    def character(self, character: str) -> str:
        if character not in PRINTABLE:
            return self.put(_UNPRINTABLE)
        return f"\\{character}" if character in _SYNTAX else character

    def next(self) -> str:
        if self.at == len(self.pattern):
            raise _Unknown
        self.at += 1
        return self.pattern[self.at - 1]

    def taken(self, character: str) -> bool:
        if self.pattern[self.at : self.at + 1] != character:
            return False
        self.at += 1
        return True

    def ends_in(self, text: str) -> bool:
        return self.pattern.startswith(text, self.at)


def _range(low: str, high: str) -> _Set:
    printable = frozenset(c for c in PRINTABLE if low <= c <= high)
    if low >= " " and high <= "~":
        return _Set(printable)
    return _Set(printable, _BEYOND, exact=False)


def _ranges(characters: frozenset[str]) -> str:
    """Write characters in order, three or more in a row as a range."""
    runs: list[list[int]] = []
    for code in sorted(map(ord, characters)):
        if runs and code == runs[-1][-1] + 1:
            runs[-1].append(code)
        else:
            runs.append([code])
    texts = []
    for run in runs:
        ends = [f"\\{chr(c)}" if chr(c) in "[]^\\-" else chr(c) for c in run]
        texts.append(f"{ends[0]}-{ends[-1]}" if len(run) > 2 else "".join(ends))
    return "".join(texts)


def _joined(alternatives: list[_Alternative]) -> str:
    return "|".join("".join(a.terms) for a in alternatives)


def _anchored(alternatives: list[_Alternative]) -> str:
    """Write the whole: anchors stand around all alternatives, or are written into each."""
    start = any(a.start for a in alternatives)
    end = any(a.end for a in alternatives)
    for a in alternatives:
        a.terms[:0] = [f"{ANY}*"] if start and not a.start else []
        a.terms += [f"{ANY}*"] if end and not a.end else []
    text = _joined(alternatives)
    if len(alternatives) > 1 and (start or end):
        text = f"(?:{text})"
    return "^" * start + text + "$" * end
