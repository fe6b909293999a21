"""A gateway that moves live subsystems between Python, TypeScript and Elixir."""

from pathlib import Path

__version__ = Path(__file__).with_name("VERSION").read_text().strip()
