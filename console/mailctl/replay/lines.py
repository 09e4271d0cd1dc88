"""The lines of a recording. Each is one JSON object with its `kind` and the time at which the console had it.

A recording is a row of sections. A section begins with `start`, goes on with where each host stands, then has what came
until the next section. So a reader may begin at any section, and every file of a recording stands for itself. What is
inside `changes`, `snapshot` and `answer` is as on the wire (docs/protocol.md); bodies of messages are never in it.
"""

from datetime import datetime

import msgspec

from mailagent.api.ids import HostName
from mailagent.api.replies import Hello
from mailctl.fleet.state import LinkState

FORMAT = 1
"""Counts the breaks of this format."""


class Line(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """What all have."""

    at: datetime  # UTC


class Start(Line, frozen=True, kw_only=True, tag="start"):
    """Begins a section: nothing before it is needed."""

    format: int
    mailctl: str  # version that wrote it
    hosts: dict[HostName, str]  # with their region, in the order of the fleet file
    pools: dict[str, tuple[HostName, ...]]  # hosts with a member


class Connected(Line, frozen=True, kw_only=True, tag="snapshot"):
    """A host answers, or stands so when the section begins."""

    host: HostName
    hello: Hello
    snapshot: msgspec.Raw
    heard_at: datetime | None = None  # when its numbers came, if not now


class Changed(Line, frozen=True, kw_only=True, tag="changes"):
    """Changes of one host."""

    host: HostName
    changes: msgspec.Raw


class Lost(Line, frozen=True, kw_only=True, tag="link"):
    """A host does not answer, and why; its last numbers stay."""

    host: HostName
    state: LinkState
    error: str


class Answered(Line, frozen=True, kw_only=True, tag="answer"):
    """A list that was asked for."""

    host: HostName
    method: str
    result: msgspec.Raw


AnyLine = Start | Connected | Changed | Lost | Answered
decoder = msgspec.json.Decoder(AnyLine)
encoder = msgspec.json.Encoder()
HEAD = b'{"kind":"start",'
"""How the first line of a section begins."""
