"""Agents that share one machine, as one host that can be opened. Pure."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from mailagent.api.ids import HostName
from mailagent.api.views import EngineState, HostView, Snapshot
from mailctl.fleet.state import HostState, LinkState, oldest, sum_flows

_WORST: Final = (
    LinkState.DENIED,
    LinkState.INCOMPATIBLE,
    LinkState.LOST,
    LinkState.CONNECTING,
    LinkState.LATE,
    LinkState.LIVE,
)
_NOTABLE: Final = (
    EngineState.FAILED,
    EngineState.STOPPING,
    EngineState.STARTING,
    EngineState.DRAINING,
    EngineState.RUNNING,
)


@dataclass(frozen=True, slots=True)
class HostLine:
    """A line of the list of hosts: a host, a machine with its agents, or one of these below it."""

    key: str  # a machine's ends in `/`, which no name of a host may have
    label: str
    host: HostState  # of a machine: its agents added up
    parts: tuple[HostState, ...] = ()  # of a machine

    @property
    def view(self) -> HostView | None:
        """Its figures."""
        return self.host.view

    @property
    def names(self) -> tuple[str, ...]:
        """The hosts that verbs mean here."""
        return tuple(str(part.name) for part in self.parts) or (str(self.host.name),)


def host_lines(hosts: Sequence[HostState], opened: Collection[str] = ()) -> list[list[HostLine]]:
    """Groups of lines in the order of `hosts`: a line alone, or a machine and, where its key is `opened`, its agents.

    A machine with one agent among `hosts` is a host like any other.
    """
    if not any(host.machine for host in hosts):
        return [[_line(host)] for host in hosts]
    together: dict[str, list[HostState]] = {}
    for host in hosts:
        together.setdefault(f"{host.machine}/" if host.machine else str(host.name), []).append(host)
    groups = []
    for key, parts in together.items():
        if len(parts) == 1:
            groups.append([_line(parts[0])])
            continue
        mark = "▾" if key in opened else "▸"
        whole = HostLine(key, f"{mark} {key[:-1]} ({len(parts)})", as_one(key[:-1], parts), tuple(parts))
        below = [HostLine(str(part.name), f"  {part.name}", part) for part in parts] if key in opened else []
        groups.append([whole, *below])
    return groups


def as_one(name: str, parts: Sequence[HostState]) -> HostState:
    """The agents of a machine added up: sums of those that answer, the worst link, the least free disk."""
    worst = min(parts, key=lambda part: _WORST.index(part.state))
    fresh = [part for part in parts if part.state.is_fresh] or list(parts)
    snapshots = [part.snapshot for part in fresh if part.snapshot is not None]
    return HostState(
        name=HostName(name),
        region=parts[0].region,
        machine=name,
        state=worst.state,
        age_s=max((part.age_s for part in parts if part.age_s is not None), default=None),
        error=f"{worst.name}: {worst.error}" if worst.error else "",
        next_try_s=worst.next_try_s,
        hello=parts[0].hello,
        snapshot=_snapshot(name, snapshots) if snapshots else None,
    )


def _line(host: HostState) -> HostLine:
    return HostLine(str(host.name), str(host.name), host)


def _snapshot(name: str, parts: Sequence[Snapshot]) -> Snapshot:
    views = [part.host for part in parts]
    closed = [view for view in views if not view.accepting]

    def total(field: str) -> int:
        return sum(getattr(view, field) for view in views)

    view = msgspec.structs.replace(
        views[0],
        host=HostName(name),
        version=", ".join(_distinct(view.version for view in views)),
        state=min((view.state for view in views), key=_NOTABLE.index),
        accepting=not closed,
        intake_reason="; ".join(f"{view.host}: {view.intake_reason}" for view in closed),
        started_at=max(view.started_at for view in views),
        waiting=total("waiting"),
        deferred=total("deferred"),
        ready=total("ready"),
        window=total("window"),
        window_limit=total("window_limit"),
        oldest_at=oldest(view.oldest_at for view in views),
        connections_in=total("connections_in"),
        connections_out=total("connections_out"),
        in_doubt=total("in_doubt"),
        in_doubt_listed=total("in_doubt_listed"),
        flow=sum_flows(view.flow for view in views),
        disk_free_bytes=min(view.disk_free_bytes for view in views),
        rss_bytes=total("rss_bytes"),
        history_bytes=total("history_bytes"),
        generation=0,
        config_hash="",
        stuck="; ".join(f"{view.host}: {view.stuck}" for view in views if view.stuck),
    )
    return Snapshot(seq=0, at=min(part.at for part in parts), host=view)


def _distinct(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))
