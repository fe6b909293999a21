"""A state as a patch to the state before (JSON Patch, RFC 6902): made and applied here alone.

Values are JSON as `bridge.canonical.normalise` leaves it. No I/O here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bridge.message import JSON

Patch = list[dict[str, JSON]]
_CONTAINERS = {dict, list}


def difference(before: JSON, after: JSON) -> Patch:
    """Return a patch that makes `after` of `before`: `add`, `remove` and `replace`, in order.

    Of a list that lost items at its head and got some at its end, only those are in it.
    """
    return list(_difference(before, after, ""))


def patched(before: JSON, patch: Sequence[dict[str, JSON]]) -> JSON:
    """Apply a patch of `difference`; what `before` holds is not touched.

    Raises KeyError, IndexError or TypeError where it is none of that state's.
    """
    value = before
    for step in patch:
        names = [_name(part) for part in step["path"].split("/")[1:]]
        value = _changed(value, names, step)
    return value


def _difference(before: JSON, after: JSON, path: str) -> Iterator[dict[str, JSON]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted(before.keys() | after.keys()):
            at = f"{path}/{name.replace('~', '~0').replace('/', '~1')}"
            if name not in after:
                yield {"op": "remove", "path": at}
            elif name not in before:
                yield {"op": "add", "path": at, "value": after[name]}
            else:
                yield from _difference(before[name], after[name], at)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _list_difference(before, after, path)
    elif not _same(before, after):
        yield {"op": "replace", "path": path, "value": after}


def _list_difference(
    before: list[JSON], after: list[JSON], path: str
) -> Iterator[dict[str, JSON]]:
    if len(before) == len(after) and _same(before, after):
        return
    gone = _gone(before, after)
    if gone is not None:
        for _ in range(gone):
            yield {"op": "remove", "path": f"{path}/0"}
        for item in after[len(before) - gone :]:
            yield {"op": "add", "path": f"{path}/-", "value": item}
    elif len(before) == len(after):
        for n, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _difference(old, new, f"{path}/{n}")
    else:
        yield {"op": "replace", "path": path, "value": after}


def _gone(before: list[JSON], after: list[JSON]) -> int | None:
    """Return how many items went from the head if the others stayed, in their order."""
    if not before or not after:
        return None
    for gone, item in enumerate(before):
        if _same(item, after[0]):
            left = len(before) - gone
            return gone if _same(before[gone:], after[:left]) else None
    return None


def _same(one: JSON, other: JSON) -> bool:
    """Compare as JSON does: to Python, 1 is True and 1.0."""
    if type(one) is not type(other) or one != other:
        return False
    if isinstance(one, dict):
        return all(_same(value, other[name]) for name, value in one.items())
    if isinstance(one, list):
        types = list(map(type, one))
        if types != list(map(type, other)):
            return False
        return _CONTAINERS.isdisjoint(types) or all(map(_same, one, other))
    return True


def _name(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")


def _changed(value: JSON, names: list[str], step: dict[str, JSON]) -> JSON:
    if not names:
        return step["value"]
    name, *rest = names
    if isinstance(value, list):
        changed: JSON = list(value)
        n = len(value) if name == "-" else int(name)
        if rest or step["op"] == "replace":
            changed[n] = _changed(value[n], rest, step)
        elif step["op"] == "add":
            changed.insert(n, step["value"])
        else:
            del changed[n]
        return changed
    changed = dict(value)
    if rest:
        changed[name] = _changed(value[name], rest, step)
    elif step["op"] == "remove":
        del changed[name]
    else:
        changed[name] = step["value"]
    return changed
