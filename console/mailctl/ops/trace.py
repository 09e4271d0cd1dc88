"""Live SMTP traces: what is followed, and lines as people read them. Pure."""

from collections.abc import Sequence

import msgspec

from mailagent.api.ids import HostName, VmtaName
from mailagent.api.trace import MOST_TRACE_S, TRACE_S, Side, TraceKind, TraceLine, TraceRequest
from mailctl.fleet.inventory import Inventory
from mailctl.fleet.state import FleetState, HostState
from mailctl.ops.errors import OptionError, SelectorError
from mailctl.ops.selector import near

_OF_VMTAS = (TraceKind.QUEUE, TraceKind.VMTA, TraceKind.CELL)
_PAIRS = {TraceKind.QUEUE: "queue:SITE/VMTA", TraceKind.CELL: "cell:PROVIDER/VMTA"}
_MARKS = {Side.CLIENT: ">", Side.SERVER: "<", Side.EVENT: "*"}


class HostTraceLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line, with the host that it comes from."""

    host: HostName
    line: TraceLine


def request(what: str, *, seconds: int | None = None, addresses: bool = False) -> TraceRequest:
    """`provider:gmail`, `queue:gmail/mkt-1`, `vmta:mkt-1`, `cell:gmail/mkt-1`, `host:mx1` or `listener:127.0.0.1:25`.

    Raises:
        SelectorError: it names nothing that can be traced.
        OptionError: too long, or no time at all.
    """
    kind, colon, name = what.partition(":")
    if not colon or not name:
        raise SelectorError(f"{what!r} names nothing; write {', '.join(f'{one}:NAME' for one in TraceKind)}")
    if kind not in frozenset(TraceKind):
        raise SelectorError(f"{kind!r} cannot be traced{near(kind, TraceKind)}")
    if kind in (TraceKind.QUEUE, TraceKind.CELL) and not all(name.rpartition("/")):
        raise SelectorError(f"{what} names no {kind}; write {_PAIRS[TraceKind(kind)]}")
    life_s = TRACE_S if seconds is None else seconds
    if not 1 <= life_s <= MOST_TRACE_S:
        raise OptionError(f"a trace takes 1 to {MOST_TRACE_S} seconds, not {life_s}")
    return TraceRequest(kind=TraceKind(kind), name=name, seconds=life_s, addresses=addresses)


def followed(state: FleetState, inventory: Inventory, request: TraceRequest) -> list[HostName]:
    """Hosts to ask: those that have the virtual MTA or listener that it is about, or all, which then say that they have
    not.
    """
    having = [host.name for host in state.hosts if _concerns(host, inventory, request)]
    return having or [host.name for host in state.hosts]


def _concerns(host: HostState, inventory: Inventory, request: TraceRequest) -> bool:
    if request.kind is TraceKind.LISTENER:
        return any(f"{one.address}:{one.port}" == request.name for one in inventory.hosts[host.name].intake.listeners)
    name = request.name.rpartition("/")[2]
    return request.kind not in _OF_VMTAS or not name or _has(host, inventory, name)


def _has(host: HostState, inventory: Inventory, vmta: str) -> bool:
    if host.snapshot is None:
        return inventory.vmtas.get(VmtaName(vmta)) == host.name
    return any(view.name == vmta for view in host.snapshot.vmtas)


def admits(line: TraceLine, words: Sequence[str]) -> bool:
    """Whether a line has all of `words` (lower case) in session, queue, peer or text."""
    text = f"{line.session} {line.queue} {line.peer} {line.side} {line.text}".lower()
    return all(word in text for word in words)


def text(line: TraceLine) -> str:
    """`12:00:07.123 3f gmail/mkt-1 > MAIL FROM:<…@example.com>`, not yet cleaned."""
    stamp = line.at.strftime("%H:%M:%S.%f")[:-3]
    return f"{stamp} {line.session:>3} {line.queue} {_MARKS[line.side]} {line.text}"
