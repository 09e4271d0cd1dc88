"""What is told to whom, and when."""

from collections import Counter
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from mailagent.api.ids import HostName
from mailagent.config.alerts import AlertRoute, Alerts, Escalation, Receiver, Severity, Syslog
from mailctl.alerts.book import Book, Event, Telling, acknowledge, confirm, due, route_of, see
from mailctl.alerts.signals import Sight, Signal

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LOG = Receiver(syslog=Syslog())
ROUTE = AlertRoute(to=("ops",), after=2 * MINUTE, repeat=60 * MINUTE)
SETTINGS = Alerts(receivers={"ops": LOG, "boss": LOG}, routes=(ROUTE,), away=5 * MINUTE)
SLOW = Signal(kind="slow", subject="gmail", severity=Severity.WARNING, text="gmail is slow", hosts=("mx1",))


class Diary:
    """Rounds, a minute apart; `heard` has what each receiver took."""

    def __init__(self, config: Alerts = SETTINGS) -> None:
        self.config = config
        self.book = Book()
        self.now = NOW
        self.heard: list[tuple[str, Event, str]] = []

    def round(
        self, *signals: Signal, silent: Collection[str] = (), failing: Collection[str] = (), minutes: int = 1
    ) -> list[tuple[str, Event]]:
        """One look and what came of it."""
        self.now += minutes * MINUTE
        sight = Sight(signals, {HostName(host): "away" for host in silent})
        self.book = msgspec.json.decode(
            msgspec.json.encode(see(self.book, sight, self.config, self.now)), type=Book
        )  # each round is another process
        told = due(self.book, self.config, self.now)
        taken = [one for one in told if one.receiver not in failing]
        self.book = confirm(self.book, taken, self.now)
        self.heard += [(one.receiver, one.event, one.alert.signal.text) for one in taken]
        return [(one.receiver, one.event) for one in taken]


def test_trouble_is_told_once_it_has_lasted_and_its_end_once_it_stays_away() -> None:
    diary = Diary()
    rounds = [diary.round(SLOW) for _ in range(10)] + [diary.round() for _ in range(10)]
    assert [(n, told) for n, told in enumerate(rounds) if told] == [
        (2, [("ops", Event.NEW)]),
        (15, [("ops", Event.RESOLVED)]),
    ]
    assert diary.book.alerts == ()


def test_a_hiccup_is_told_neither_as_trouble_nor_as_its_end() -> None:
    diary = Diary()
    assert [diary.round(SLOW), diary.round(), diary.round(SLOW), diary.round(SLOW)] == [[], [], [], []]
    assert diary.round(SLOW) == [("ops", Event.NEW)]
    assert [diary.round() for _ in range(4)] == [[]] * 4
    assert diary.round(SLOW) == []


def test_it_is_repeated_while_nobody_acknowledges() -> None:
    diary = Diary()
    for _ in range(3):
        diary.round(SLOW)
    assert diary.round(SLOW, minutes=59) == []
    assert diary.round(SLOW) == [("ops", Event.REMINDER)]
    diary.book = acknowledge(diary.book, diary.book.alerts[0].id, by="eve", now=diary.now)
    assert diary.round(SLOW, minutes=600) == []
    for _ in range(6):
        diary.round()
    assert diary.heard[-1][1] is Event.RESOLVED


def test_what_nobody_acknowledges_goes_to_others_too() -> None:
    route = replace(ROUTE, escalate=Escalation(to=("boss",), after=15 * MINUTE))
    diary = Diary(replace(SETTINGS, routes=(route,)))
    for _ in range(3):
        diary.round(SLOW)
    assert diary.round(SLOW, minutes=14) == []
    assert diary.round(SLOW) == [("boss", Event.ESCALATED)]
    assert diary.round(SLOW) == []
    for _ in range(6):
        last = diary.round()
    assert sorted(last) == [("boss", Event.RESOLVED), ("ops", Event.RESOLVED)]


def test_who_could_not_be_told_does_not_keep_it_from_going_to_others() -> None:
    route = replace(ROUTE, escalate=Escalation(to=("boss",), after=15 * MINUTE))
    diary = Diary(replace(SETTINGS, routes=(route,)))
    for _ in range(3):
        diary.round(SLOW, failing=["ops"])
    assert diary.round(SLOW, minutes=15, failing=["ops"]) == [("boss", Event.ESCALATED)]


def test_an_acknowledgement_holds_for_its_time_and_as_bad_as_it_was() -> None:
    route = replace(ROUTE, escalate=Escalation(to=("boss",), after=15 * MINUTE))
    diary = Diary(replace(SETTINGS, routes=(route,)))
    for _ in range(3):
        diary.round(SLOW)
    until = diary.now + 30 * MINUTE
    diary.book = acknowledge(diary.book, diary.book.alerts[0].id[:4], by="eve", now=diary.now, until=until)
    assert diary.round(SLOW, minutes=29) == []
    assert diary.round(SLOW, minutes=15) == []
    assert diary.round(SLOW) == [("boss", Event.ESCALATED)]
    diary.book = acknowledge(diary.book, diary.book.alerts[0].id, by="eve", now=diary.now)
    worse = replace(SLOW, severity=Severity.CRITICAL)
    assert sorted(diary.round(worse)) == [("boss", Event.WORSE), ("ops", Event.WORSE)]
    with pytest.raises(LookupError, match="0 open alerts have an id that begins with zzz"):
        acknowledge(diary.book, "zzz", by="eve", now=diary.now)


def test_what_turns_critical_has_its_own_time_before_others_are_told() -> None:
    route = replace(ROUTE, escalate=Escalation(to=("boss",), after=15 * MINUTE), severity=Severity.CRITICAL)
    diary = Diary(replace(SETTINGS, routes=(route, ROUTE)))
    for _ in range(3):
        diary.round(SLOW)
    worse = replace(SLOW, severity=Severity.CRITICAL)
    assert diary.round(worse, minutes=50) == [("ops", Event.WORSE)]
    assert diary.round(SLOW, minutes=7) == []
    assert diary.round(worse, minutes=7) == []
    assert diary.round(worse) == [("boss", Event.ESCALATED)]


def test_one_more_address_is_worse_and_one_less_is_nothing() -> None:
    diary = Diary()
    for _ in range(3):
        diary.round(replace(SLOW, scope=("mkt-1",)))
    assert diary.round(replace(SLOW, scope=("mkt-1", "mkt-2"))) == [("ops", Event.WORSE)]
    assert diary.round(replace(SLOW, scope=("mkt-2",))) == []
    assert diary.round(replace(SLOW, scope=("mkt-1",))) == []


def test_of_a_host_that_is_silent_nothing_ends_and_nothing_is_repeated() -> None:
    diary = Diary()
    lost = Signal(kind="lost", subject="mx1", severity=Severity.WARNING, text="mx1 does not answer", hosts=("mx1",))
    for _ in range(3):
        diary.round(SLOW)
    rounds = [diary.round(lost, silent=["mx1"]) for _ in range(3)]
    assert rounds == [[], [], [("ops", Event.NEW)]]
    assert diary.round(lost, silent=["mx1"], minutes=59) == []
    (slow,) = [alert for alert in diary.book.alerts if alert.signal.kind == "slow"]
    assert slow.hidden_by == ("mx1",)
    for _ in range(4):
        assert diary.round() == []  # it is back, and well: that has to last
    assert diary.round(minutes=2) == [("ops", Event.RESOLVED), ("ops", Event.RESOLVED)]


def test_what_was_seen_without_a_host_does_not_wait_for_it() -> None:
    fleet = Signal(kind="growth", subject="pool bulk", severity=Severity.WARNING, text="grows", without=("mx1",))
    gap = {"growth": ("mx1",)}
    assert Sight((), {}, gap).hidden_by(fleet) == ()
    assert Sight((), {}, gap).hidden_by(replace(fleet, without=())) == ("mx1",)
    assert Sight((), {}, gap).hidden_by(replace(fleet, hosts=("mx2",), without=())) == ()


def test_each_receiver_hears_what_it_has_not_confirmed() -> None:
    both = replace(SETTINGS, routes=(replace(ROUTE, to=("ops", "boss")),))
    diary = Diary(both)
    for _ in range(2):
        diary.round(SLOW)
    assert diary.round(SLOW, failing=["boss"]) == [("ops", Event.NEW)]
    assert diary.round(SLOW) == [("boss", Event.NEW)]
    for _ in range(5):
        diary.round()
    assert diary.round(failing=["ops"]) == [("boss", Event.RESOLVED)]
    assert diary.round(SLOW) == []  # a new one, which has to last; ops goes on as if there had been no end
    diary.round(SLOW)
    assert diary.round(SLOW) == [("boss", Event.NEW)]


@pytest.mark.parametrize(
    ("route", "matches"),
    [
        (AlertRoute(to=()), True),
        (AlertRoute(to=(), severity=Severity.CRITICAL), False),
        (AlertRoute(to=(), kinds=("slow", "dns")), True),
        (AlertRoute(to=(), kinds=("slow",), hosts=(HostName("mx2"),)), False),
        (AlertRoute(to=(), hosts=(HostName("mx1"),)), True),
        (AlertRoute(to=(), providers=("gmail",)), False),  # type: ignore[arg-type]
    ],
)
def test_the_first_route_that_matches_is_taken(route: AlertRoute, matches: bool) -> None:
    routes = (replace(route, after=MINUTE), replace(ROUTE, after=9 * MINUTE))
    assert (route_of(SLOW, replace(SETTINGS, routes=routes)).after == MINUTE) is matches
    assert route_of(SLOW, replace(SETTINGS, routes=())).to == ("ops", "boss")
    nothing = (AlertRoute(to=("ops",), kinds=("dns",)),)
    assert route_of(SLOW, replace(SETTINGS, routes=nothing)).to == ()


def test_the_worst_is_told_first_and_the_end_last() -> None:
    diary = Diary(replace(SETTINGS, routes=(replace(ROUTE, after=timedelta(0)),), away=timedelta(0)))
    over = replace(SLOW, subject="yahoo")
    diary.round(over)
    grave = replace(SLOW, kind="blocked", severity=Severity.CRITICAL)
    sight = Sight((SLOW, grave))
    book = see(diary.book, sight, diary.config, diary.now + MINUTE)
    found = due(book, diary.config, diary.now + MINUTE)
    assert [(one.event, one.alert.signal.kind) for one in found] == [
        (Event.NEW, "blocked"),
        (Event.NEW, "slow"),
        (Event.RESOLVED, "slow"),
    ]


# -- whatever happens

SIGNALS = st.builds(
    Signal,
    kind=st.sampled_from(["slow", "blocked"]),
    subject=st.sampled_from(["gmail", "yahoo"]),
    severity=st.sampled_from(Severity),
    text=st.just("trouble"),
    scope=st.sets(st.sampled_from(["a", "b"])).map(tuple),
    hosts=st.sampled_from([("mx1",), ("mx2",), ()]),
)
ROUNDS = st.lists(
    st.tuples(
        st.lists(SIGNALS, max_size=3, unique_by=lambda one: (one.kind, one.subject)),
        st.sets(st.sampled_from(["mx1"])),
        st.sets(st.sampled_from(["ops", "boss"])),
        st.integers(1, 30),
        st.booleans(),
    ),
    max_size=25,
)
ROUTES = (
    AlertRoute(to=("ops",), severity=Severity.CRITICAL, escalate=Escalation(to=("boss",)), repeat=20 * MINUTE),
    AlertRoute(to=("ops",), kinds=("slow",), repeat=None),
    AlertRoute(to=("boss",), after=10 * MINUTE),
)


@given(rounds=ROUNDS)
@settings(deadline=None)
def test_the_end_is_told_once_and_only_to_those_who_were_told(
    rounds: list[tuple[list[Signal], set[str], set[str], int, bool]],
) -> None:
    config = replace(SETTINGS, routes=ROUTES)
    book, now = Book(), NOW
    knows: Counter[tuple[str, str, str]] = Counter()
    for signals, silent, failing, minutes, acks in rounds:
        now += minutes * MINUTE
        seen = {(one.kind, one.subject) for one in signals}
        book = see(book, Sight(tuple(signals), {HostName(host): "" for host in silent}), config, now)
        tellings = due(book, config, now)
        assert len({(one.receiver, one.alert.id) for one in tellings}) == len(tellings)
        taken = [one for one in tellings if one.receiver not in failing]
        for one in taken:
            _note(knows, one)
            assert (one.event is Event.RESOLVED) == ((one.alert.signal.kind, one.alert.signal.subject) not in seen)
        book = confirm(book, taken, now)
        again = due(book, config, now)
        assert [one for one in again if one.receiver not in failing] == []  # a restart sends nothing twice
        assert {(one.receiver, one.event) for one in again} == {
            (one.receiver, one.event) for one in tellings if one.receiver in failing
        }
        if acks and book.alerts:
            book = acknowledge(book, book.alerts[0].id, by="eve", now=now)
    assert {who for who, count in knows.items() if count} == {
        (receiver, alert.signal.kind, alert.signal.subject) for alert in book.alerts for receiver in alert.told
    }


def _note(knows: Counter[tuple[str, str, str]], telling: Telling) -> None:
    key = (telling.receiver, telling.alert.signal.kind, telling.alert.signal.subject)
    match telling.event:
        case Event.NEW | Event.ESCALATED:
            assert knows[key] == 0
            knows[key] += 1
        case Event.RESOLVED:
            assert knows[key] == 1
            knows[key] -= 1
        case _:
            assert knows[key] == 1
