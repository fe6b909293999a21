"""The command line of a port program."""

from __future__ import annotations

import pytest

from bridge.link.arguments import BadArgument, PortArguments, parse_arguments

ERLPORT = ["-u", "-m", "erlport.cli", "--packet=4"]
SIZES = ["--compressed=0", "--buffer_size=65536"]


def test_what_erlport_appends_is_understood() -> None:
    assert parse_arguments([*ERLPORT, "--use_stdio", *SIZES]) == PortArguments(0, 1, 4)
    assert parse_arguments([*ERLPORT, "--nouse_stdio", *SIZES]) == PortArguments(3, 4, 4)


def test_what_the_node_gives_is_understood() -> None:
    assert parse_arguments(["--packet=4", "--nouse_stdio"]) == PortArguments(3, 4, 4)


def test_standard_input_and_output_are_the_default_as_in_erlport() -> None:
    assert parse_arguments(["--packet=2"]) == PortArguments(0, 1, 2)


def test_without_arguments_there_is_no_port() -> None:
    assert parse_arguments([]) is None


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("--packet=3", "--packet: expected 1, 2 or 4, got '3'"),
        ("--packet", "--packet: expected 1, 2 or 4, got ''"),
        ("--packet=٤", "--packet: expected 1, 2 or 4, got '٤'"),
        ("--compressed=10", "--compressed: expected 0 to 9, got '10'"),
        ("--buffer_size=0", "--buffer_size: expected 1 to 2147483647, got '0'"),
        ("--verbose", "--verbose: no such argument of a port program"),
    ],
)
def test_another_argument_is_refused(argument: str, text: str) -> None:
    with pytest.raises(BadArgument) as caught:
        parse_arguments([argument])
    assert str(caught.value) == text
