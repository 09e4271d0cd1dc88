"""Parts of a message that waits, and the text of one: on request, and on record."""

import msgspec


class PartsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a message; with `part`, the text of that one too."""

    message_id: str
    part: int | None = None


class PartView(msgspec.Struct, frozen=True, kw_only=True):
    """One leaf of a message."""

    n: int
    kind: str  # `text/plain`, lower case
    name: str  # file name that it gives itself
    octets: int  # decoded


class MessageParts(msgspec.Struct, frozen=True, kw_only=True):
    """What a message holds. Text may hold control characters."""

    parts: tuple[PartView, ...]
    truncated: bool = False  # only the start of the message was looked at
    part: int | None = None
    text: str = ""  # of `part`: HTML without its tags, at most 65,536 characters
    text_truncated: bool = False
