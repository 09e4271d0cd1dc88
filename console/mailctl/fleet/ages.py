"""How long mail waits on all hosts: one row a provider, or a provider and stream, in buckets of age. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from mailagent.api.ages import BUCKET_MINUTES, AgeView
from mailagent.api.ids import HostName

UNKNOWN = "(not known)"
"""Provider of mail that has not been looked up."""


@dataclass(frozen=True, slots=True)
class AgeRow:
    """Waiting recipients by age."""

    provider: str
    stream: str  # empty: all of them
    hosts: tuple[HostName, ...]
    waiting: int
    oldest_at: datetime
    buckets: tuple[int, ...]  # as those of `AgeView`

    @property
    def key(self) -> str:
        """Stable key of the row."""
        return f"{self.provider}/{self.stream}"


def age_rows(parts: Iterable[tuple[HostName, AgeView]], *, by_stream: bool) -> list[AgeRow]:
    """The sums over hosts (and streams), most waiting first."""
    groups: dict[tuple[str, str], list[tuple[HostName, AgeView]]] = {}
    for host, view in parts:
        groups.setdefault((view.provider or UNKNOWN, view.stream if by_stream else ""), []).append((host, view))
    rows = [
        AgeRow(
            provider=provider,
            stream=stream,
            hosts=tuple(dict.fromkeys(host for host, _ in views)),
            waiting=sum(view.waiting for _, view in views),
            oldest_at=min(view.oldest_at for _, view in views),
            buckets=tuple(sum(view.buckets[n] for _, view in views) for n in range(len(BUCKET_MINUTES) + 1)),
        )
        for (provider, stream), views in groups.items()
    ]
    return sorted(rows, key=lambda row: (-row.waiting, row.key))
