"""The port's end of an Erlang port: descriptors that the BEAM made, kept clean."""

from __future__ import annotations

import os
import sys

from bridge.link.arguments import PortArguments
from bridge.link.transports.descriptors import Descriptors


def open_port(arguments: PortArguments) -> Descriptors:
    """Take the port's descriptors over, so that nothing else can write into the stream.

    On descriptors 0 and 1 copies are taken, 0 becomes empty and 1 becomes standard error: a
    stray `print`, a C extension or a child process cannot reach the peer. Raises OSError when
    the descriptors are not there.
    """
    read_fd, write_fd = arguments.read_fd, arguments.write_fd
    if arguments.uses_stdio:
        sys.stdout.flush()
        read_fd, write_fd = os.dup(read_fd), os.dup(write_fd)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        try:
            os.dup2(2, 1)
        except OSError:  # started without standard error
            os.dup2(nothing, 1)
        os.close(nothing)
    return Descriptors(read_fd, write_fd)
