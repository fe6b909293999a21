"""A gateway that moves live subsystems between Python, TypeScript and Elixir."""

from pathlib import Path

_HERE = Path(__file__).resolve().parent
# In the installed package, where the node's sources read it too, else in the checkout.
_FILES = (_HERE / "data" / "bridge" / "VERSION", _HERE / "VERSION")
__version__ = next(file for file in _FILES if file.is_file()).read_text().strip()
