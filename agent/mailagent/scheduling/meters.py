"""Meters: the one owner of each limit that counts over time or over connections.

A meter belongs to one virtual MTA within one bound: a site or named rollup, a provider, or all destinations. Ready
queues come and go; a meter stays for as long as it has something to remember, so that no limit starts afresh.
"""

from collections.abc import Callable, Iterable
from enum import StrEnum

from mailagent.api.ids import VmtaName
from mailagent.routing import PathLimits, Site
from mailagent.scheduling.limits import Gate, RateLimit

MeterKey = tuple["Bound", str, VmtaName]


class Bound(StrEnum):
    """What a meter spans; the value is the prefix of its limits' names."""

    SITE = ""
    PROVIDER = "provider_"
    VMTA = "vmta_"


class Meter:
    """Connections and rates of one virtual MTA within one bound."""

    __slots__ = ("bytes_rate", "connect_rate", "gate", "prefix", "rate", "users")

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.gate = Gate(f"{prefix}connections", None, "")
        self.rate: RateLimit | None = None
        self.connect_rate: RateLimit | None = None
        self.bytes_rate: RateLimit | None = None
        self.users = 0  # ready queues

    def set(self, limits: PathLimits, now: float) -> None:
        """What the configuration and directives say now."""
        connections = getattr(limits, self.gate.key)
        self.gate.limit, self.gate.origin = connections.value, connections.origin
        for name in ("rate", "connect_rate", "bytes_rate") if not self.prefix else ("rate",):
            key = self.prefix + name
            value = getattr(limits, key).value
            limit: RateLimit | None = getattr(self, name)
            if value is None:
                setattr(self, name, None)
            elif limit is None:
                setattr(self, name, RateLimit(value, key))
            else:
                limit.change(value, now)

    def is_quiet(self, now: float) -> bool:
        """Whether it would say the same if it were made anew."""
        limits = (self.rate, self.connect_rate, self.bytes_rate)
        return not self.gate.used and all(limit is None or limit.delay_s(now) <= 0 for limit in limits)


class Meters:
    """All meters of a host, and the gate of the host itself."""

    def __init__(self, max_connections: int, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._meters: dict[MeterKey, Meter] = {}
        self._unused: set[MeterKey] = set()
        self.host = Gate("max_connections", max_connections, "delivery.max_connections")

    def of(self, site: Site, vmta: VmtaName) -> tuple[Meter, ...]:
        """Those of a path, for one more ready queue."""
        meters = []
        for key in _keys(site, vmta):
            meter = self._meters.get(key)
            if meter is None:
                meter = self._meters[key] = Meter(key[0])
            meter.users += 1
            self._unused.discard(key)
            meters.append(meter)
        return tuple(meters)

    def leave(self, site: Site, vmta: VmtaName) -> None:
        """A ready queue of that path is gone."""
        for key in _keys(site, vmta):
            meter = self._meters[key]
            meter.users -= 1
            if not meter.users:
                self._unused.add(key)

    def sweep(self) -> None:
        """Forget those that nobody uses and that have nothing to remember."""
        now = self._clock()
        for key in [key for key in self._unused if self._meters[key].is_quiet(now)]:
            self._unused.discard(key)
            del self._meters[key]

    @property
    def gates(self) -> Iterable[Gate]:
        """Every gate, the host's last."""
        return (*(meter.gate for meter in self._meters.values()), self.host)


def _keys(site: Site, vmta: VmtaName) -> tuple[MeterKey, ...]:
    group = f"rollup {site.rollup}" if site.rollup else site.name  # a site may have the name of a rollup
    return (Bound.SITE, group, vmta), (Bound.PROVIDER, site.provider, vmta), (Bound.VMTA, "", vmta)
