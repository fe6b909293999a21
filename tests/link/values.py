"""Hypothesis strategies for what a link carries."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from bridge.bounds import MAX_SAFE_INTEGER
from bridge.link.terms import Atom, Opaque

texts = st.text(st.characters(exclude_categories=["Cs"]))
integers = st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER)
floats = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | integers | floats | texts
json_values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(texts, inner, max_size=6),
    max_leaves=30,
)
CONSTANTS = {"true", "false", "nil", "undefined"}
atoms = (
    st.text(st.characters(exclude_categories=["Cs"]), max_size=255)
    .filter(lambda text: text not in CONSTANTS)
    .map(Atom)
)
opaques = st.builds(Opaque, atoms.filter(lambda name: name != "erlang"), st.binary(max_size=30))
terms: st.SearchStrategy[Any] = st.recursive(
    json_values | atoms | opaques,
    lambda inner: st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple),
    max_leaves=20,
)
_keys = texts | atoms | st.integers(-(10**30), 10**30) | st.tuples(texts, atoms)
# Bytes that are no UTF-8: those that are come back as the string they are.
_bytes = st.binary(max_size=20).map(lambda found: found + b"\xff")
any_terms: st.SearchStrategy[Any] = st.recursive(
    terms | _bytes | st.integers(-(10**30), 10**30),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(_keys, inner, max_size=4)
    ),
    max_leaves=20,
)
