"""A gateway that moves live subsystems between Python, TypeScript and Elixir."""

from pathlib import Path

_HERE = Path(__file__).resolve().parent
# In the installed package, else in the checkout.
_FILES = (_HERE / "data" / "VERSION", _HERE.parent / "VERSION")
__version__ = next(file for file in _FILES if file.is_file()).read_text().strip()
