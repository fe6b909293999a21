"""ErlPort's protocol for Python: call a BEAM's functions and let it call yours.

Only the standard library is needed. docs/link.md has the way to use it by itself.
"""

from bridge.link.arguments import BadArgument, PortArguments, parse_arguments
from bridge.link.errors import BadTerm, BadValue, LinkBusy, LinkClosed, LinkFault, LinkTimeout
from bridge.link.link import Function, Link
from bridge.link.messages import ANY, JSON_ONLY, Terms
from bridge.link.session import Counters, SessionLimits
from bridge.link.terms import Atom, Opaque
from bridge.link.transports.descriptors import Descriptors
from bridge.link.transports.port import open_port
from bridge.link.transports.socket import SocketListener

__all__ = [
    "ANY",
    "JSON_ONLY",
    "Atom",
    "BadArgument",
    "BadTerm",
    "BadValue",
    "Counters",
    "Descriptors",
    "Function",
    "Link",
    "LinkBusy",
    "LinkClosed",
    "LinkFault",
    "LinkTimeout",
    "Opaque",
    "PortArguments",
    "SessionLimits",
    "SocketListener",
    "Terms",
    "open_port",
    "parse_arguments",
]
