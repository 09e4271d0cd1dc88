"""What one look at the fleet finds wrong: alarms of the console and crossed thresholds, as signals. Pure.

Two that measure the same would be told twice. So an alarm `listed`, `unproven` or `crowded` gives way to the threshold
`listed`, `identity` or `window`; the thresholds `unreachable` and `refusing` give way to an alarm for each host, and
say how bad that is.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from msgspec.structs import replace

from mailagent.api.ids import HostName
from mailagent.config.alerts import ALARM_KINDS, DRIFT, THRESHOLD_KINDS, Severity
from mailagent.config.structs import FleetConfig
from mailctl.fleet.state import HostState
from mailctl.ops.alarms import Alarm
from mailctl.ops.checkup import Level, Reading, Verdict
from mailctl.ops.findings import Trouble

GRAVE = (Trouble.FAILED, Trouble.SOURCE, Trouble.BOUNCING, Trouble.BLOCKED, Trouble.FAILING)
"""Alarms that are critical; the rest is a warning."""
SEVERAL = 3
"""Alarms about the same that are told in words."""
_MEASURED = {Trouble.LOST: "unreachable", Trouble.REFUSING: "refusing"}
"""Alarms whose severity a threshold says."""
_OF_FLEET = (Trouble.FAILING, Trouble.DNS)
_OF_HOST = (Trouble.FAILED, Trouble.LOST, Trouble.REFUSING)
_SEVERITIES = {Level.WARNING: Severity.WARNING, Level.CRITICAL: Severity.CRITICAL}


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """One trouble, as one look saw it. Kind and subject stay the same while words and numbers change."""

    kind: str
    subject: str  # `gmail`, `mx1`, `pool marketing`
    severity: Severity
    text: str
    detail: str = ""  # the reply or error, verbatim
    advice: str = ""
    command: str = ""  # that shows more, or makes it safe
    scope: tuple[str, ...] = ()  # addresses or hosts that have it; one more is worse
    hosts: tuple[str, ...] = ()  # none: it is about the fleet
    pools: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    without: tuple[str, ...] = ()  # hosts that gave no answer to it


@dataclass(frozen=True, slots=True)
class Sight:
    """One look at the fleet."""

    signals: tuple[Signal, ...] = ()
    silent: Mapping[HostName, str] = field(default_factory=dict)  # hosts that do not answer, and why
    unchecked: Mapping[str, Sequence[str]] = field(default_factory=dict)  # hosts without answer, by kind

    def hidden_by(self, signal: Signal) -> tuple[str, ...]:
        """Hosts that would have to answer before it is known that the trouble is over."""
        blind = self.unchecked.get(signal.kind, tuple(self.silent))
        if signal.hosts:
            return tuple(host for host in signal.hosts if host in blind)
        return tuple(host for host in blind if host not in signal.without)


class Sorter:
    """Says what of the fleet file a host, an address, a pool or a stream belongs to."""

    def __init__(self, config: FleetConfig) -> None:
        self._pool_of = {str(vmta): str(name) for name, pool in config.pools.items() for vmta in pool.members}
        self._host_of = {str(vmta): str(name) for name, host in config.hosts.items() for vmta in host.virtual_mtas}
        self._pools_of = {
            str(name): _once((stream.pool, *stream.pools.values())) for name, stream in config.streams.items()
        }

    def placed(self, signal: Signal, terms: Iterable[tuple[str, str]]) -> Signal:
        """The signal with the hosts, pools, streams and providers that `terms` (kind and name) are about."""
        named: dict[str, list[str]] = {"host": list(signal.hosts), "pool": [], "stream": [], "provider": []}
        for kind, name in terms:
            if kind == "cell":
                provider, _, vmta = name.partition("/")
                named["provider"].append(provider)
                kind, name = "vmta", vmta
            if kind == "vmta":
                named["pool"] += [pool] if (pool := self._pool_of.get(name)) else []
                named["host"] += [host] if not signal.hosts and (host := self._host_of.get(name)) else []
            elif kind in named:
                named[kind].append(name)
        streams = named["stream"] or [s for s, pools in self._pools_of.items() if set(pools) & set(named["pool"])]
        pools = named["pool"] or [pool for stream in named["stream"] for pool in self._pools_of.get(stream, ())]
        return replace(
            signal,
            hosts=_once(named["host"]),
            pools=_once(pools),
            streams=_once(streams),
            providers=_once(named["provider"]),
        )


def _once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def sight_of(
    config: FleetConfig,
    verdicts: Sequence[Verdict],
    alarms: Sequence[Alarm],
    *,
    silent: Mapping[HostName, str],
    drifted: Sequence[HostState] = (),
    say: Callable[[Verdict, Reading], str],
) -> Sight:
    """What is wrong. `silent`: hosts that gave no answer, and why; `say`: a reading in words."""
    sorter = Sorter(config)
    levels = {verdict.name: verdict.level for verdict in verdicts}
    found: dict[tuple[str, str], list[Signal]] = {}
    for signal in (
        *_of_silent(silent, alarms, levels),
        *_of_alarms(alarms, levels, sorter),
        *_of_verdicts(verdicts, sorter, say),
        *map(_of_drift, drifted),
    ):
        found.setdefault((signal.kind, signal.subject), []).append(signal)
    unchecked = {
        verdict.name: tuple(one.host for one in verdict.unchecked)
        for verdict in verdicts
        if verdict.name in THRESHOLD_KINDS
    }
    return Sight(tuple(map(_joined, found.values())), silent, unchecked)


def _joined(parts: Sequence[Signal]) -> Signal:
    """Several alarms about the same: one address of a provider, and another one."""
    texts = [part.text for part in parts[:SEVERAL]]
    texts += [f"and {len(parts) - SEVERAL} more"] if len(parts) > SEVERAL else []
    return replace(
        parts[0],
        text="; ".join(texts),
        scope=_once(name for part in parts for name in part.scope),
        hosts=_once(name for part in parts for name in part.hosts),
        pools=_once(name for part in parts for name in part.pools),
        streams=_once(name for part in parts for name in part.streams),
        providers=_once(name for part in parts for name in part.providers),
    )


def _of_silent(
    silent: Mapping[HostName, str], alarms: Sequence[Alarm], levels: Mapping[str, Level]
) -> Iterator[Signal]:
    """Hosts that did not answer in time; those that are lost have an alarm."""
    told = {host for alarm in alarms if alarm.trouble is Trouble.LOST for host in alarm.hosts}
    for host, why in silent.items():
        if host not in told:
            yield Signal(
                kind=Trouble.LOST,
                subject=host,
                severity=_severity(Trouble.LOST, levels),
                text=f"{host} does not answer",
                detail=why,
                command=f"mailctl hosts host:{host}",
                hosts=(host,),
            )


def _of_alarms(alarms: Sequence[Alarm], levels: Mapping[str, Level], sorter: Sorter) -> Iterator[Signal]:
    for alarm in alarms:
        if alarm.trouble not in ALARM_KINDS:
            continue
        cells = [cell.partition("/")[::2] for cell in alarm.cells]
        addresses = _once(vmta for _, vmta in cells)
        scope: tuple[str, ...] = ()
        if alarm.trouble in _OF_HOST:
            subject: str = alarm.hosts[0]
        elif alarm.trouble in _OF_FLEET:
            subject, scope = "fleet", tuple(alarm.hosts)
        elif alarm.trouble is Trouble.SOURCE:
            subject = addresses[0]
        else:  # about one address, or about the provider: then it does not matter which ones
            subject, scope = cells[0][0], addresses if len(addresses) == 1 else ("*",)
        signal = Signal(
            kind=alarm.trouble,
            subject=subject,
            severity=_severity(alarm.trouble, levels),
            text=alarm.text,
            detail=alarm.evidence,
            advice=alarm.advice,
            command=alarm.command,
            scope=scope,
            hosts=tuple(alarm.hosts),
        )
        yield sorter.placed(signal, (("cell", cell) for cell in alarm.cells))


def _severity(trouble: Trouble, levels: Mapping[str, Level]) -> Severity:
    measured = _MEASURED.get(trouble, "")
    if trouble in GRAVE or levels.get(measured) is Level.CRITICAL:
        return Severity.CRITICAL
    return Severity.WARNING


def _of_verdicts(
    verdicts: Sequence[Verdict], sorter: Sorter, say: Callable[[Verdict, Reading], str]
) -> Iterator[Signal]:
    for verdict in verdicts:
        for one in verdict.crossed if verdict.name in THRESHOLD_KINDS else ():
            if one.level in _SEVERITIES:
                terms = [(kind, name) for kind, _, name in (term.partition(":") for term in one.about.split())]
                signal = Signal(
                    kind=verdict.name,
                    subject=one.subject,
                    severity=_SEVERITIES[one.level],
                    text=say(verdict, one),
                    command=one.look,
                    without=tuple(gap.host for gap in verdict.unchecked),
                )
                yield sorter.placed(signal, terms)


def _of_drift(host: HostState) -> Signal:
    return Signal(
        kind=DRIFT,
        subject=host.name,
        severity=Severity.WARNING,
        text=f"{host.name} runs something else than the fleet file says",
        command=f"mailctl plan host:{host.name}",
        hosts=(host.name,),
    )
