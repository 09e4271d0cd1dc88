"""Easing in: what an order of a person held leaves at twice the usual pace. Pure.

For as long as it was held (LEAST to MOST), each cell that it held sends at most twice what it sent before. So the
backlog of a time is gone after about that time, and no provider sees more than twice what it is used to. Where that is
less than FLOOR or not known (there was trouble ever since the agent was started), it begins there and doubles every
STEP.

A rotation eases nothing: what waits leaves from the standby at once.

Orders of automation have their own way up (`shaping`). Kept in memory: after a restart, the paths' limits hold alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import product
from typing import Final

from mailagent.api.directives import Directive, DirectiveKind
from mailagent.api.ids import PoolName, ProviderName, StreamName, VmtaName
from mailagent.api.targets import TargetKind
from mailagent.config.structs import AgentConfig, Rate
from mailagent.control.state import HostState, sentence
from mailagent.routing import DEFAULT_PROVIDER, ROUTE_PROVIDER, Limit

HELD: Final = timedelta(seconds=30)
"""What was held for less brings no backlog worth it."""
LEAST: Final = timedelta(minutes=1)
STEP: Final = timedelta(minutes=1)
MOST: Final = timedelta(minutes=30)
FACTOR: Final = 2
FLOOR: Final = 2.5
"""Lowest usual pace that is believed, in messages a second: there may have been little mail, or none got through."""
_HOLDS: Final = (DirectiveKind.DRAIN, DirectiveKind.SUSPEND)

Cell = tuple[ProviderName, VmtaName]
Usual = Callable[[Cell, datetime], float]
"""Messages a second that a cell sent before a moment; 0: not known."""


@dataclass(frozen=True, slots=True)
class _Live:
    limit: Limit[Rate]  # to begin with
    rate: Rate  # its value
    began_at: datetime
    ends_at: datetime
    known: bool  # whether the usual pace is


class Easing:
    """The limits of one host that hold for a while after orders ended."""

    def __init__(self, usual: Usual) -> None:
        self._usual = usual
        self._live: dict[Cell, _Live] = {}

    def changed(self, config: AgentConfig, before: HostState, after: HostState, now: datetime) -> timedelta | None:
        """Orders have changed; how long the limits hold that come of it, None when there are none."""
        still = {one.target for one in after.directives if one.kind in _HOLDS and not one.rule}
        known = {one.id for one in after.directives}
        longest: timedelta | None = None
        for one in before.directives:
            if one.kind in _HOLDS and not one.rule and one.id not in known and one.target not in still:
                span = self._ended(config, one, now)
                longest = max(longest or span, span) if span is not None else longest
        return longest

    def limits(self, cell: Cell, now: datetime) -> Mapping[str, Limit[Rate]]:
        """What holds for a path of `cell`, by name of the limit."""
        found = self._live.get(cell)
        if found is None or found.ends_at <= now:
            return {}
        if found.known:
            return {"provider_rate": found.limit}
        steps = max(0, (now - found.began_at) // STEP)  # the clock may go back
        doubled = Rate(count=found.rate.count << steps, period_s=found.rate.period_s)
        return {"provider_rate": replace(found.limit, value=doubled)}

    def _ease(self, cell: Cell, pace: float, now: datetime, span: timedelta, why: str) -> None:
        known = pace >= FLOOR
        how = "twice the usual pace" if known else "twice as much every minute"
        rate = Rate(count=round(FACTOR * max(pace, FLOOR) * 60), period_s=60)
        limit = Limit(rate, f"{how}, since {why}", f"it ends at {now + span:%H:%M:%S} UTC")
        self._live[cell] = _Live(limit, rate, began_at=now, ends_at=now + span, known=known)

    def _ended(self, config: AgentConfig, order: Directive, now: datetime) -> timedelta | None:
        held = now - order.created_at
        concerned = _concerned(config, order)
        if held < HELD or concerned is None:
            return None
        span = min(MOST, max(LEAST, held))
        self._live = {cell: live for cell, live in self._live.items() if live.ends_at > now}
        for cell in product(_providers(config), config.virtual_mtas):
            if not concerned(cell):
                continue
            pace = self._usual(cell, order.created_at)
            self._ease(cell, pace, now, span, f"{order.target} is no longer {sentence(order)}")
        return span


def _providers(config: AgentConfig) -> set[ProviderName]:
    """Those that have sites of their own, and the one of all others."""
    return {*config.providers, DEFAULT_PROVIDER} - {ROUTE_PROVIDER}


def _concerned(config: AgentConfig, order: Directive) -> Callable[[Cell], bool] | None:
    """Whose mail `order` held; None: that of no cells."""
    name = order.target.name
    provider, _, last = name.rpartition("/")
    match order.target.kind:
        case TargetKind.POOL:
            return lambda cell: cell[1] in _members(config, name)
        case TargetKind.VMTA:
            return lambda cell: cell[1] == name
        case TargetKind.PROVIDER:
            return lambda cell: cell[0] == name
        case TargetKind.CELL:
            return lambda cell: cell == (provider, last)
        case TargetKind.STREAM:
            return lambda cell: cell[1] in _of_stream(config, name)
        case TargetKind.TRAFFIC:
            return lambda cell: cell[0] == provider and cell[1] in _of_stream(config, last)
        case _:
            return None


def _members(config: AgentConfig, pool: str) -> tuple[VmtaName, ...]:
    known = config.pools.get(PoolName(pool))
    return known.members if known is not None else ()


def _of_stream(config: AgentConfig, stream: str) -> tuple[VmtaName, ...]:
    known = config.streams.get(StreamName(stream))
    pools = (known.pool, *known.pools.values()) if known is not None else ()
    return tuple(vmta for pool in pools for vmta in _members(config, pool))
