"""A gateway that moves live subsystems between Python, TypeScript and Elixir."""

__version__ = "0.1.0"
