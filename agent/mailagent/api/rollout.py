"""The file of a host as the console sends it: what it would change, and the verbs that put it in place or back."""

import zlib
from datetime import datetime
from enum import StrEnum

import msgspec

from mailagent.api.directives import Directive
from mailagent.api.errors import InvalidRequest
from mailagent.api.ids import HostName, OpId
from mailagent.api.requests import Mutation

MAX_FILE_BYTES = 1024 * 1024
"""Longest configuration file that is taken over the wire."""
MOST_ROWS = 500
MOST_EDITS = 60
"""Lines of a difference at most."""


def pack(text: str) -> bytes:
    """`text` as it travels: compressed, since a request has 64 KiB at most."""
    return zlib.compress(text.encode(), 9)


def unpack(data: bytes) -> bytes:
    """What `pack` made, as bytes of the file.

    Raises:
        InvalidRequest: it is no such thing, or longer than `MAX_FILE_BYTES`.
    """
    reader = zlib.decompressobj()
    try:
        text = reader.decompress(data, MAX_FILE_BYTES)
    except zlib.error as exc:
        raise InvalidRequest(f"packed: not compressed as it must be: {exc}") from exc
    if not reader.eof:
        raise InvalidRequest(f"packed: incomplete, or of more than {MAX_FILE_BYTES} bytes")
    return text


class ConfigQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Ask what a file would change; without one, how the host's own file stands to what it runs."""

    packed: bytes = b""  # a file, of `pack`


class FileState(StrEnum):
    """How the file on the host stands to what the agent runs, and to what was last put there."""

    IN_EFFECT = "in-effect"
    EDITED = "edited"  # by hand: since the last apply, or since the agent read it
    PENDING = "pending"  # waits for a restart of the agent


class How(StrEnum):
    """What happens to one part of the configuration."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


class ConfigChange(msgspec.Struct, frozen=True, kw_only=True):
    """One part that differs: `pool marketing`, `provider gmail`, `retry`."""

    # in the singular: `pool`, `virtual MTA`, `stream`, `route`, `provider`; or the key: `retry`; of Postfix: `main.cf`,
    # `master.cf`, `map`
    section: str
    name: str
    how: How
    detail: str  # `rate: 20/s -> 10/s; connections: 5 -> 3`


class Ceiling(msgspec.Struct, frozen=True, kw_only=True):
    """A limit in effect that differs on the paths of a provider, or on all paths of a virtual MTA."""

    provider: str  # empty: all
    vmtas: tuple[str, ...]  # that send before and after
    limit: str
    before: str  # empty: none
    after: str
    lower: bool


class Misfit(msgspec.Struct, frozen=True, kw_only=True):
    """A live directive that will mean nothing, or already stands in the file."""

    directive: Directive
    why: str
    adopted: bool = False  # the file says the same: an apply ends it


class AppliedFile(msgspec.Struct, frozen=True, kw_only=True):
    """One apply or its undo, as the host remembers it."""

    op_id: OpId
    at: datetime
    author: str
    reason: str
    before: str  # digests of the file
    after: str
    restart: bool = False  # in effect only after a restart of the agent
    undoes: OpId | None = None


class ConfigPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a file would change on one host."""

    host: HostName
    file: str  # path on the host
    state: FileState
    digest: str  # of the file as it is, for `base`
    edits: tuple[str, ...] = ()  # what was edited, as a difference
    last: AppliedFile | None = None
    same: bool = True  # nothing to change
    restart: tuple[str, ...] = ()  # keys that only a restart changes
    changes: tuple[ConfigChange, ...] = ()
    ceilings: tuple[Ceiling, ...] = ()
    misfits: tuple[Misfit, ...] = ()
    notes: tuple[str, ...] = ()  # what will not be as the file says, and what somebody has to do on the host
    queues: int = 0  # ready queues whose paths change
    waiting: int = 0  # recipients that wait there
    problems: tuple[str, ...] = ()  # why the host would refuse the file
    truncated: bool = False


class ConfigApply(Mutation, frozen=True, kw_only=True):
    """Put a file in place of the host's own and take it over. `override` passes edits made by hand."""

    packed: bytes = b""  # a file, of `pack`
    base: str = ""  # digest of the file that the plan was made on; empty does not check
    restart: bool = False  # write it although a part of it waits for a restart of the agent


class ConfigUndo(Mutation, frozen=True, kw_only=True):
    """Put the file back that an apply replaced, and take it over."""

    undoes: OpId = OpId("")
    restart: bool = False
