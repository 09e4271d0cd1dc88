"""Jobs over all hosts: counts added up, state and end as an operator must see them. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from mailagent.api.ids import HostName
from mailagent.api.jobs import JobState, JobView

_BY_URGENCY = tuple(JobState)


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job over the hosts that have it."""

    name: str
    parts: tuple[tuple[HostName, JobView], ...]

    @property
    def hosts(self) -> tuple[HostName, ...]:
        """Where it is."""
        return tuple(host for host, _ in self.parts)

    @property
    def views(self) -> tuple[JobView, ...]:
        """What each host says."""
        return tuple(view for _, view in self.parts)

    @property
    def state(self) -> JobState:
        """That of the host that is furthest from done."""
        return min((view.state for view in self.views), key=_BY_URGENCY.index)

    def sum(self, field: str) -> int:
        """A count over all hosts."""
        return sum(getattr(view, field) for view in self.views)

    @property
    def pace(self) -> float:
        """Deliveries a second."""
        return sum(view.rate_now for view in self.views)

    @property
    def rates(self) -> tuple[str, ...]:
        """Limits that hosts have for it, each once."""
        return tuple(dict.fromkeys(view.rate for view in self.views if view.rate))

    @property
    def eta(self) -> datetime | None:
        """When the last host is through; None while one of them cannot say, or nothing waits."""
        etas = [view.eta for view in self.views if view.waiting]
        known = [eta for eta in etas if eta is not None]
        return max(known) if known and len(known) == len(etas) else None

    @property
    def start(self) -> datetime | None:
        """The earliest start that is to come."""
        return min((view.start for view in self.views if view.start), default=None)

    @property
    def end(self) -> datetime | None:
        """The earliest end of its window."""
        return min((view.end for view in self.views if view.end), default=None)

    @property
    def created_at(self) -> datetime | None:
        """Its first mail anywhere."""
        return min((view.created_at for view in self.views if view.created_at), default=None)

    @property
    def late(self) -> bool:
        """Whether a host will not be through by its end."""
        return any(view.late for view in self.views)

    @property
    def reasons(self) -> tuple[str, ...]:
        """What holds it, each sentence once."""
        return tuple(dict.fromkeys(view.reason for view in self.views if view.reason))


def merged_jobs(rows: Iterable[tuple[HostName, JobView]]) -> list[JobRow]:
    """Jobs by name in the order of their first appearance."""
    parts: dict[str, list[tuple[HostName, JobView]]] = {}
    for host, view in rows:
        parts.setdefault(view.name, []).append((host, view))
    return [JobRow(name, tuple(same)) for name, same in parts.items()]
