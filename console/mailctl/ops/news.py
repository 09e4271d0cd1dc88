"""What is new between two states of the fleet, one row at a time, for programs that follow it. Pure."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from mailagent.api.directives import DirectiveView
from mailagent.api.ids import HostName
from mailagent.api.views import DestinationView, Snapshot
from mailctl.fleet import FleetState, HostState, LinkState
from mailctl.ops.errors import SelectorError
from mailctl.ops.selector import OBJECTS, Selection, TermKind

SCHEMA = "mailctl.watch/1"
EVERYTHING = Selection()


class RowKind(StrEnum):
    """What a row is about."""

    LINK = "link"  # how the console stands with the host
    HOST = "host"
    POOL = "pool"
    VMTA = "vmta"
    PROVIDER = "provider"
    DESTINATION = "destination"
    DIRECTIVE = "directive"


class Event(StrEnum):
    """Why a row is told."""

    SNAPSHOT = "snapshot"  # told for the first time
    CHANGE = "change"
    GONE = "gone"  # without its row


class LinkRow(msgspec.Struct, frozen=True, kw_only=True):
    """How the console stands with a host."""

    state: LinkState
    error: str  # why it is not live


class News(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the stream."""

    schema: str = SCHEMA
    at: datetime  # as the host said it; of a link: as the console saw it
    host: HostName
    event: Event
    kind: RowKind
    key: str  # of the row on its host: name, `provider/vmta` of a destination, id of a directive
    row: Any = None  # the struct of the wire


Rows = Callable[[Snapshot], Sequence[Any]]
_TABLES: dict[RowKind, tuple[Rows, Callable[[Any], str]]] = {
    RowKind.HOST: (lambda one: (one.host,), lambda row: str(row.host)),
    RowKind.POOL: (lambda one: one.pools, lambda row: str(row.name)),
    RowKind.VMTA: (lambda one: one.vmtas, lambda row: str(row.name)),
    RowKind.PROVIDER: (lambda one: one.providers, lambda row: str(row.name)),
    RowKind.DESTINATION: (lambda one: one.destinations, lambda row: f"{row.provider}/{row.vmta}"),
    RowKind.DIRECTIVE: (lambda one: one.directives, lambda row: str(row.directive.id)),
}


def news(
    before: FleetState | None,
    after: FleetState,
    *,
    at: datetime,
    kinds: Collection[RowKind] = (),
    selection: Selection = EVERYTHING,
) -> list[News]:
    """Rows of `after` that `before` has not, or has otherwise, and keys that are gone; by host, in the order of kinds.

    `kinds`, none: all. A selection leaves the rows that it names, and all links: silence must be told from trouble.

    Raises:
        SelectorError: the selection has a kind that no row knows.
    """
    for kind in selection.kinds:
        if kind not in OBJECTS:
            raise SelectorError(f"watch cannot be narrowed by {kind}:; it knows host:, {', '.join(OBJECTS)}")
    found: list[News] = []
    for host in after.hosts:
        if not selection.hosts or host.name in selection.hosts:
            found += _of_host(before.host(host.name) if before else None, host, at, kinds or tuple(RowKind), selection)
    return found


def _of_host(
    before: HostState | None, host: HostState, at: datetime, kinds: Collection[RowKind], selection: Selection
) -> Iterator[News]:
    old_link = LinkRow(state=before.state, error=before.error) if before else None
    link = LinkRow(state=host.state, error=host.error)
    if RowKind.LINK in kinds and link != old_link:
        event = Event.CHANGE if old_link else Event.SNAPSHOT
        yield News(at=at, host=host.name, event=event, kind=RowKind.LINK, key=host.name, row=link)
    old, new = before.snapshot if before else None, host.snapshot
    if new is None or new is old:
        return
    for kind, (rows, key) in _TABLES.items():
        if kind not in kinds:
            continue
        had = {key(row): row for row in rows(old)} if old else {}
        has = {key(row): row for row in rows(new)}
        for name, row in has.items():
            if had.get(name) != row and _matches(row, kind, selection):
                event = Event.CHANGE if name in had else Event.SNAPSHOT
                yield News(at=new.at, host=host.name, event=event, kind=kind, key=name, row=row)
        for name, row in had.items():
            if name not in has and _matches(row, kind, selection):
                yield News(at=new.at, host=host.name, event=Event.GONE, kind=kind, key=name)


def _matches(row: Any, kind: RowKind, selection: Selection) -> bool:
    names = _names(row, kind)
    return all(any(name in names.get(term, ()) for name in selection.names(term)) for term in selection.kinds)


def _names(row: Any, kind: RowKind) -> Mapping[TermKind, Collection[str]]:
    """What a selection may call the row."""
    match kind:
        case RowKind.POOL:
            return {TermKind.POOL: (row.name,)}
        case RowKind.VMTA:
            return {TermKind.VMTA: (row.name,), TermKind.POOL: (row.pool,)}
        case RowKind.PROVIDER:
            return {TermKind.PROVIDER: (row.name,)}
        case RowKind.DESTINATION:
            cell: DestinationView = row
            return {
                TermKind.PROVIDER: (cell.provider,),
                TermKind.VMTA: (cell.vmta,),
                TermKind.POOL: (cell.pool,),
                TermKind.QUEUE: cell.queues,
                TermKind.CELL: (f"{cell.provider}/{cell.vmta}",),
            }
        case RowKind.DIRECTIVE:
            order: DirectiveView = row
            target = order.directive.target
            return {term: (target.name,) for term in OBJECTS if term.value == target.kind.value}
    return {}
