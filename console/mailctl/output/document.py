"""The one JSON document that a command prints. Field names are those of the wire (docs/protocol)."""

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from mailagent.api import codec
from mailagent.api.ids import HostName, OpId
from mailctl.fleet.state import FleetState, LinkState

SCHEMA = 1
"""Counts the breaks of the documents' shape."""
_ONE_WORD = str.maketrans(" _", "--")
"""`suppression list` and the verb `dkim_prepare` are one word each in the name of a schema, as `report-day` is."""


class HostEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One targeted host: whether its part is in the rows, and how old it is."""

    name: HostName
    state: LinkState
    age_s: float | None
    error: str


class HostResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a verb did on one host."""

    host: HostName
    target: str
    result: str
    detail: str


class Operation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One verb over all its hosts."""

    op_id: OpId
    verb: str
    selection: str
    results: tuple[HostResult, ...]
    messages: int
    share: float
    command: str
    undo: str  # the command, empty when there is nothing to undo
    dry_run: bool = False
    warnings: tuple[str, ...] = ()
    counts: dict[str, int] = {}  # results by kind, each kind named
    empty: bool | None = None  # with --wait: whether everything drained is empty
    parts: tuple[msgspec.Struct, ...] = ()  # of verbs on mail: what they touch, by host, pool, stream and provider
    oldest_at: datetime | None = None  # of verbs on mail: arrival of the oldest


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """All of it; what a command has nothing of is left out."""

    schema: str
    generated_at: datetime
    hosts: tuple[HostEntry, ...]
    rows: Sequence[Any] | msgspec.UnsetType = msgspec.UNSET
    truncated: bool | msgspec.UnsetType = msgspec.UNSET  # there are more rows than these
    operation: Operation | msgspec.UnsetType = msgspec.UNSET
    errors: tuple[str, ...] = ()


def document(
    name: str,
    state: FleetState,
    *,
    rows: Sequence[Any] | msgspec.UnsetType = msgspec.UNSET,
    truncated: bool | msgspec.UnsetType = msgspec.UNSET,
    operation: Operation | msgspec.UnsetType = msgspec.UNSET,
    errors: Iterable[str] = (),
    hosts: Collection[str] | None = None,
) -> str:
    """The document of the command `name`, indented, without a line end; `hosts` None: all were targeted."""
    value = Document(
        schema=f"mailctl.{name.translate(_ONE_WORD)}/{SCHEMA}",
        generated_at=datetime.now(UTC),
        hosts=tuple(
            HostEntry(
                name=host.name,
                state=host.state,
                age_s=None if host.age_s is None else round(host.age_s, 3),
                error=host.error,
            )
            for host in state.hosts
            if hosts is None or host.name in hosts
        ),
        rows=rows,
        truncated=truncated,
        operation=operation,
        errors=tuple(errors),
    )
    return msgspec.json.format(codec.encode(value), indent=2).decode()


def at_host(host: HostName, view: msgspec.Struct) -> dict[str, Any]:
    """`view` as a row with the host that reports it; the only place where a row is not a struct of the wire."""
    return {"host": host} | msgspec.structs.asdict(view)
