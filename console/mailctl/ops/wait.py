"""Wait until what was drained is empty."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from mailagent.api.directives import DirectiveKind, DrainProgress
from mailagent.api.ids import HostName
from mailctl.fleet import Fleet, FleetState
from mailctl.ops.plan import Line, LineResult, Report

GRACE = timedelta(seconds=2)
"""An order that its host does not list so long after giving it is over (cancelled or expired)."""


class DrainState(StrEnum):
    """Where one drained object stands."""

    DRAINING = "draining"
    EMPTY = "empty"
    ENDED = "ended"  # the drain was undone or cancelled while we waited
    LOST = "lost"  # its host is not reachable now


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainStatus:
    """One drained object of one host."""

    host: HostName
    target: str
    state: DrainState
    progress: DrainProgress | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitResult:
    """How the wait ended."""

    drains: tuple[DrainStatus, ...]

    @property
    def is_empty(self) -> bool:
        """Whether something was drained and all of it is empty."""
        return bool(self.drains) and all(drain.state is DrainState.EMPTY for drain in self.drains)

    @property
    def is_over(self) -> bool:
        """Whether nothing can change any more."""
        return all(drain.state in (DrainState.EMPTY, DrainState.ENDED) for drain in self.drains)


@dataclass(frozen=True, slots=True)
class _Drained:
    """One object to look at; `since` is when its host gave the order, None when it stood before."""

    host: HostName
    target: str
    since: datetime | None


async def wait_empty(
    fleet: Fleet, report: Report, *, timeout_s: float, progress: Callable[[WaitResult], None] = lambda _: None
) -> WaitResult:
    """Wait until every object that `report` drained (or rotated away) is empty, or `timeout_s` is over.

    `progress` is called with each change. A host that is lost meanwhile is waited for; a drain that somebody undoes
    ends its part of the wait.
    """
    drained = [_drained(line) for line in report.lines if line.result in _DONE]
    seen = WaitResult(drains=())

    def look(state: FleetState) -> bool:
        nonlocal seen
        now = WaitResult(drains=tuple(_status(state, one) for one in drained))
        if now != seen:
            seen = now
            progress(now)
        return now.is_over

    await fleet.until(look, within_s=timeout_s)
    return seen


_DONE = (LineResult.APPLIED, LineResult.NOTHING_TO_DO)
_DRAINS = (DirectiveKind.DRAIN, DirectiveKind.ROTATE)


def _drained(line: Line) -> _Drained:
    made = line.answer.directives if line.answer and line.result is LineResult.APPLIED else ()
    return _Drained(line.host, line.target, made[0].created_at if made else None)


def _status(state: FleetState, drained: _Drained) -> DrainStatus:
    host = state.host(drained.host)
    snapshot = host.snapshot if host else None
    view = next(
        (
            view
            for view in (snapshot.directives if snapshot else ())
            if view.directive.kind in _DRAINS and str(view.directive.target) == drained.target
        ),
        None,
    )
    if host is None or snapshot is None or not host.state.is_fresh:
        now = DrainState.LOST
    elif view is not None:
        now = DrainState.EMPTY if view.progress and view.progress.empty else DrainState.DRAINING
    elif drained.since is not None and snapshot.at < drained.since + GRACE:
        now = DrainState.DRAINING  # the snapshot may be older than the order; both times are the host's own
    else:
        now = DrainState.ENDED
    return DrainStatus(host=drained.host, target=drained.target, state=now, progress=view.progress if view else None)
