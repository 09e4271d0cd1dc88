"""What a look at the fleet says is wrong."""

from pathlib import Path

import pytest

from mailagent.api.ids import HostName
from mailagent.config import load_fleet
from mailagent.config.alerts import ALARM_KINDS, THRESHOLD_KINDS, Severity
from mailagent.config.structs import FleetConfig
from mailagent.config.thresholds import CountLimits
from mailctl.alerts.signals import Sight, sight_of
from mailctl.ops.alarms import Alarm, alarms
from mailctl.ops.checkup import CHECKS, Measured, Unit, Verdict, judge
from mailctl.ops.findings import Trouble
from tests.console.tui.doubles import healthy

FLEET = """\
hosts:
  mx1: {virtual_mtas: {mkt-1: {address: 127.0.0.1}, mkt-2: {address: 127.0.0.2}}}
  mx2: {virtual_mtas: {mkt-3: {address: 127.0.0.3}}}
pools: {marketing: {active: [mkt-1, mkt-2, mkt-3]}}
streams: {news: {pool: marketing}, default: {pool: marketing}}
"""


@pytest.fixture
def config(tmp_path: Path) -> FleetConfig:
    (tmp_path / "fleet.yaml").write_text(FLEET)
    return load_fleet(tmp_path / "fleet.yaml")


def alarm(trouble: Trouble, *cells: str, text: str = "trouble", hosts: tuple[str, ...] = ("mx1",)) -> Alarm:
    return Alarm(trouble=trouble, text=text, hosts=tuple(map(HostName, hosts)), cells=cells)


def crossed(name: str, subject: str, about: str, value: float = 3, critical: int = 9) -> Verdict:
    limits = CountLimits(warning=1, critical=critical)
    return judge(name, Unit.COUNT, [Measured(subject, value, limits, about=about)], {})


def look(config: FleetConfig, *verdicts: Verdict, found: tuple[Alarm, ...] = (), silent: tuple[str, ...] = ()) -> Sight:
    why = {HostName(host): "lost: no route" for host in silent}
    return sight_of(config, verdicts, found, silent=why, say=lambda verdict, one: f"{verdict.name} of {one.subject}")


def test_every_alarm_and_threshold_has_a_kind_or_gives_way() -> None:
    assert {*ALARM_KINDS, "listed", "unproven", "crowded"} == set(Trouble)
    assert {*THRESHOLD_KINDS, "unreachable", "refusing"} == set(CHECKS)
    assert not set(ALARM_KINDS) & set(THRESHOLD_KINDS)


def test_an_alarm_of_the_console_is_told_in_its_words(config: FleetConfig) -> None:
    (raised,) = alarms(healthy())
    (signal,) = look(config, found=(raised,)).signals
    assert (signal.text, signal.detail, signal.command) == (raised.text, raised.evidence, raised.command)
    assert (signal.kind, signal.subject, signal.severity) == ("throttled", "gmail", Severity.WARNING)
    assert (signal.hosts, signal.pools, signal.streams) == (raised.hosts, ("marketing",), ("news", "default"))
    assert (signal.providers, signal.scope) == (("gmail",), ("mkt-1",))


def test_alarms_about_addresses_of_one_provider_are_one_signal(config: FleetConfig) -> None:
    both = (
        alarm(Trouble.BLOCKED, "gmail/mkt-1", text="a"),
        alarm(Trouble.BLOCKED, "gmail/mkt-3", text="b", hosts=("mx2",)),
    )
    (signal,) = look(config, found=both).signals
    assert (signal.text, signal.scope, signal.hosts) == ("a; b", ("mkt-1", "mkt-3"), ("mx1", "mx2"))
    assert signal.severity is Severity.CRITICAL
    many = tuple(alarm(Trouble.BLOCKED, f"gmail/mkt-{n}", text=str(n)) for n in range(9))
    assert look(config, found=many).signals[0].text == "0; 1; 2; and 6 more"
    (common,) = look(config, found=(alarm(Trouble.BLOCKED, "gmail/mkt-1", "gmail/mkt-3"),)).signals
    assert (common.subject, common.scope) == (signal.subject, ("*",))


def test_what_a_threshold_measures_is_told_once(config: FleetConfig) -> None:
    listed = Alarm(trouble=Trouble.LISTED, text="mkt-1 is listed", hosts=(HostName("mx1"),), vmta="mkt-1")
    (signal,) = look(config, crossed("listed", "virtual MTA mkt-1", "vmta:mkt-1"), found=(listed,)).signals
    assert (signal.kind, signal.subject, signal.hosts) == ("listed", "virtual MTA mkt-1", ("mx1",))
    assert (signal.pools, signal.streams) == (("marketing",), ("news", "default"))


def test_each_silent_host_is_one_signal_as_bad_as_the_threshold_says(config: FleetConfig) -> None:
    told = alarm(Trouble.LOST, text="mx1 does not answer")
    verdict = crossed("unreachable", "fleet", "", value=2, critical=2)
    signals = look(config, verdict, found=(told,), silent=("mx1", "mx2")).signals
    assert {(one.kind, one.subject, one.severity) for one in signals} == {
        ("lost", "mx1", Severity.CRITICAL),
        ("lost", "mx2", Severity.CRITICAL),
    }
    (alone,) = look(config, silent=("mx2",)).signals
    assert (alone.text, alone.detail, alone.severity) == ("mx2 does not answer", "lost: no route", Severity.WARNING)


@pytest.mark.parametrize(
    ("about", "places"),
    [
        ("provider:gmail stream:news", ((), ("marketing",), ("news",), ("gmail",))),
        ("pool:marketing", ((), ("marketing",), ("news", "default"), ())),
        ("host:mx2", (("mx2",), (), (), ())),
        ("cell:gmail/mkt-3 host:mx2", (("mx2",), ("marketing",), ("news", "default"), ("gmail",))),
        ("", ((), (), (), ())),
    ],
)
def test_a_reading_belongs_to_what_it_is_about(
    config: FleetConfig, about: str, places: tuple[tuple[str, ...], ...]
) -> None:
    (signal,) = look(config, crossed("orders", "x", about)).signals
    assert (signal.hosts, signal.pools, signal.streams, signal.providers) == places
