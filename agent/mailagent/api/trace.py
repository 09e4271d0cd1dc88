"""Live SMTP traces: what goes over the wire of one queue, provider, virtual MTA or listener, redacted."""

from datetime import datetime
from enum import StrEnum

import msgspec

TRACE_S = 300
"""Life of a trace when the request does not say."""
MOST_TRACE_S = 3600


class TraceKind(StrEnum):
    """What can be traced."""

    QUEUE = "queue"  # `gmail/mkt-1`
    PROVIDER = "provider"
    VMTA = "vmta"
    CELL = "cell"  # `gmail/mkt-1`: provider and virtual MTA
    HOST = "host"  # all that leaves a host, by its name
    LISTENER = "listener"  # of intake, `127.0.0.1:25`


class TraceRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Begin a trace; it ends with the connection, `untrace`, another `trace` of it, or after `seconds`."""

    kind: TraceKind
    name: str
    seconds: int = TRACE_S
    addresses: bool = False  # show local parts


class TraceStarted(msgspec.Struct, frozen=True, kw_only=True):
    """What is followed from now on; lines come as `trace` notifications."""

    ends_at: datetime
    connections: int  # that stood already


class Side(StrEnum):
    """Who said it."""

    CLIENT = "client"
    SERVER = "server"
    EVENT = "event"  # nobody: connected, TLS, text of the message, closed


class TraceLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of one SMTP session."""

    at: datetime
    session: str  # tells sessions of one host apart
    queue: str  # `gmail/mkt-1`, or the listener
    peer: str
    side: Side
    text: str  # redacted, cut; may hold control characters


class TraceLines(msgspec.Struct, frozen=True, kw_only=True):
    """What came since the last ones."""

    lines: tuple[TraceLine, ...]
    dropped: int = 0  # lines that found no room since the last ones
    ended: str = ""  # why there are no more
