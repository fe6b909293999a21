"""The Python end of ErlPort in `bridge bench link`; ErlPort imports it by this name."""

from typing import Any


def echo(value: Any) -> Any:
    return value
