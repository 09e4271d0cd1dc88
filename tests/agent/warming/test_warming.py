"""The courses of a host: what closes and opens them, and what outlives a restart."""

import asyncio
import os
from pathlib import Path

import msgspec
import pytest

from mailagent.api import codec
from mailagent.api.feedback import FeedbackEvent, FeedbackKind
from mailagent.api.ids import HostName, PoolName, ProviderName, VmtaName
from mailagent.api.views import MemberState
from mailagent.api.warm_up import WarmUpRequest, WarmUpState
from mailagent.config.structs import AgentConfig, Pool, VirtualMta
from mailagent.config.warm_up import WarmUp
from mailagent.telemetry.counters import Counters
from mailagent.warming.warming import FILE_NAME, Warming

A1, A2 = VmtaName("a1"), VmtaName("a2")
GMAIL, YAHOO = ProviderName("gmail"), ProviderName("yahoo")
DAY = 86_400.0
NOON = 20_000 * DAY + DAY / 2


class World:
    """What a host tells, and a clock that a test sets."""

    def __init__(self, directory: Path) -> None:
        self.config = AgentConfig(
            host=HostName("mx1"),
            state_dir=directory,
            virtual_mtas={A1: VirtualMta(), A2: VirtualMta(public="192.0.2.2")},
            pools={PoolName("p"): Pool(active=(A1,), warming=(A2,))},
            warm_up=WarmUp(start=100, weeks=4),
        )
        self.counters = Counters()
        self.faults: list[str] = []
        self.service: dict[VmtaName, MemberState] = {}
        self.roomy: list[frozenset[ProviderName]] = []
        self.wall = NOON
        self.warming = self.begin()

    def begin(self) -> Warming:
        async def note(verb: str, words: str) -> None:
            raise AssertionError("nothing is noted without `run`")

        return Warming(
            self.config,
            leaves=self.counters.leaves,
            unfit=lambda vmta: self.faults if vmta == A2 else [],
            note=note,
            room_again=self.roomy.append,
            service=lambda vmta: self.service.get(vmta, MemberState.STANDBY),
            clock=lambda: self.wall,
            wall=lambda: self.wall,
        )

    def configure(self, **changes: object) -> None:
        self.config = msgspec.structs.replace(self.config, **changes)
        self.warming.configure(self.config)

    def send(self, count: int, provider: ProviderName = GMAIL) -> None:
        """So many recipients are placed and delivered."""
        allowance = self.warming.of(A2, provider)
        if allowance is not None:
            allowance.take(self.wall, count)
        self.counters.delivered("p", "s", A2, provider, count)

    def pass_(self, seconds: float) -> list[str]:
        self.wall += seconds
        return [words for _, _, words in self.warming.tick()]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_active_members_and_routes_have_no_ceiling(world: World) -> None:
    assert world.warming.of(A1, GMAIL) is None
    assert world.warming.of(A2, "route") is None
    found = world.warming.of(A2, GMAIL)
    assert found is not None
    assert found.ceiling == 100
    assert [one.provider for one in world.warming.views(A2)] == [GMAIL]
    assert world.warming.views(A1) == ()


def test_days_are_counted_from_what_was_delivered(world: World) -> None:
    world.send(60)
    assert world.pass_(1) == []
    (view,) = world.warming.views(A2)
    assert (view.used, view.delivered, view.state) == (60, 60, WarmUpState.CLIMBING)
    assert world.pass_(DAY / 2) == []
    assert [one.day for one in world.warming.views(A2)] == [2]
    allowance = world.warming.of(A2, GMAIL)
    assert allowance is not None
    assert (allowance.ceiling, allowance.used) == (126, 0)


def test_what_it_sent_before_it_was_warming_does_not_count(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.counters.delivered("p", "s", A2, GMAIL, 500)
    world.send(5)
    world.pass_(1)
    assert [one.delivered for one in world.warming.views(A2)] == [5]


def test_mail_that_found_no_room_is_called_when_there_is_some(world: World) -> None:
    allowance = world.warming.of(A2, GMAIL)
    assert allowance is not None
    allowance.take(world.wall, allowance.room(world.wall))
    world.pass_(1)
    assert world.roomy == []
    assert not allowance.room(world.wall)
    world.pass_(1)
    assert world.roomy == []  # there is none yet
    world.pass_(500)
    assert world.roomy == [frozenset({GMAIL})]
    world.pass_(500)
    assert world.roomy == [frozenset({GMAIL})]  # nobody was turned away since


def test_the_next_day_has_room(world: World) -> None:
    allowance = world.warming.of(A2, GMAIL)
    assert allowance is not None
    allowance.take(world.wall, 100)
    assert not allowance.room(world.wall)
    world.pass_(DAY / 4)
    assert world.roomy == []
    world.pass_(DAY / 4)
    assert world.roomy == [frozenset({GMAIL})]


def test_mail_above_the_ceiling_is_no_debt_of_the_next_day(world: World) -> None:
    allowance = world.warming.of(A2, GMAIL)
    assert allowance is not None
    allowance.take(world.wall, 1000)  # tried again by the address that tried it before
    world.pass_(DAY / 2)
    next_day = world.warming.of(A2, GMAIL)
    assert next_day is not None
    assert next_day.delay_s(world.wall) == 0


def test_what_was_placed_before_midnight_is_given_back_to_its_day(world: World) -> None:
    before = world.warming.of(A2, GMAIL)
    assert before is not None
    before.take(world.wall, 60)
    world.pass_(DAY / 2)
    today = world.warming.of(A2, GMAIL)
    assert today is not None
    today.take(world.wall, 50)
    before.give_back(60)
    assert [one.used for one in world.warming.views(A2)] == [50]


def test_what_may_not_be_tried_again_during_a_pause_is_called_after_it(world: World) -> None:
    world.faults = ["is listed by zen.example"]
    allowance = world.warming.of(A2, GMAIL)
    assert allowance is not None
    assert allowance.is_closed()
    world.pass_(1)
    assert world.roomy == []
    world.faults = []
    world.pass_(1)
    assert world.roomy == [frozenset({GMAIL})]


def test_who_is_unfit_is_paused_for_as_long_as_that(world: World) -> None:
    allowance = world.warming.of(A2, GMAIL)
    assert allowance is not None
    world.faults = ["is listed by zen.example"]
    world.pass_(1)
    assert allowance.room(world.wall) == 0
    (view,) = world.warming.views(A2)
    assert (view.state, view.why, view.until) == (WarmUpState.PAUSED, "is listed by zen.example", None)
    reason = world.warming.reason(A2, GMAIL)
    assert reason is not None
    assert reason.detail == "warm-up of a2 at gmail is paused: a2 is listed by zen.example"
    begun = world.warming.of(A2, YAHOO)
    assert begun is not None
    assert begun.ceiling == 0  # a course that begins now knows it, too
    world.faults = []
    world.pass_(1)
    assert allowance.room(world.wall) > 0
    assert GMAIL in world.roomy[-1]
    assert world.warming.reason(A2, GMAIL) is None


def test_complaints_count_for_the_way_that_the_mail_went(world: World) -> None:
    world.send(100)
    world.pass_(1)
    for n in range(3):
        kind = FeedbackKind.COMPLAINT
        world.warming.heard(FeedbackEvent(id=str(n), at=codec.now(), kind=kind, lag_s=0.1, vmta=A2, provider=GMAIL))
    assert world.pass_(1) == ["paused for a day: 3 of 100 recipients complained about"]


async def test_a_restart_goes_on_and_another_address_begins_anew(world: World) -> None:
    world.send(60)
    world.pass_(1)
    await world.warming.save()
    again = world.begin()
    assert [(one.used, one.delivered) for one in again.views(A2)] == [(60, 60)]
    allowance = again.of(A2, GMAIL)
    assert allowance is not None
    assert allowance.used == 60
    other = VirtualMta(public="192.0.2.99")
    world.config = msgspec.structs.replace(world.config, virtual_mtas={A1: VirtualMta(), A2: other})
    assert world.begin().views(A2) == ()


async def test_a_file_is_on_disk_before_it_takes_the_place_of_the_last_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []  # sizes

    def fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(os, "fsync", fsync)
    world.send(60)
    world.pass_(1)
    await world.warming.save()
    assert synced == [(world.config.state_dir / FILE_NAME).stat().st_size]


async def test_courses_rest_while_a_member_is_active(world: World) -> None:
    world.send(60)
    world.pass_(1)
    warming = world.config.pools
    world.configure(pools={PoolName("p"): Pool(active=(A1, A2))})
    assert [world.warming.ceilings] == [None]
    assert world.warming.of(A2, GMAIL) is None
    await world.warming.save()
    world.counters.delivered("p", "s", A2, GMAIL, 1000)
    world.configure(pools=warming)
    assert [world.warming.ceilings] == [world.warming]
    world.pass_(1)
    assert [(one.used, one.delivered) for one in world.warming.views(A2)] == [(60, 60)]


async def test_a_file_that_cannot_be_read_begins_anew(world: World, tmp_path: Path) -> None:
    await asyncio.to_thread((tmp_path / FILE_NAME).write_text, "[{")
    assert world.begin().views(A2) == ()
    assert (tmp_path / "warm-up.unreadable").read_text() == "[{"


async def test_the_past_is_told(world: World) -> None:
    for _ in range(3):
        allowance = world.warming.of(A2, GMAIL)
        assert allowance is not None
        world.send(allowance.ceiling)
        world.pass_(1)
        world.pass_(DAY - 1)
    (course,) = (await world.warming.warm_ups(WarmUpRequest())).courses
    assert [(day.day, day.ceiling, day.delivered) for day in course.past] == [
        (1, 100, 100),
        (2, 126, 126),
        (3, 158, 158),
    ]
    assert (course.now.day, course.now.days) == (4, 28)
    assert (await world.warming.warm_ups(WarmUpRequest(provider=YAHOO))).courses == ()


def test_a_standby_trickles_the_same_every_day(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.configure(pools={PoolName("p"): Pool(active=(A1,), standby=(A2,), trickle=30)})
    for day in range(40):
        allowance = world.warming.of(A2, GMAIL)
        assert allowance is not None
        assert (allowance.ceiling, allowance.used) == (30, 0)
        if day < 5:
            world.send(30)
        assert world.pass_(DAY) == []
    assert [(one.state, one.day, one.days) for one in world.warming.views(A2)] == [(WarmUpState.TRICKLE, 0, 0)]
    closed = world.warming.of(A2, "route")
    assert closed is not None
    assert closed.room(world.wall) == 0
    world.service = {A2: MemberState.ACTIVE}
    assert world.warming.of(A2, GMAIL) is None
    assert world.warming.views(A2) == ()


def test_a_trickle_that_is_refused_pauses(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.configure(pools={PoolName("p"): Pool(active=(A1,), standby=(A2,), trickle=30)})
    world.faults = ["is listed by zen.example"]
    allowance = world.warming.of(A2, GMAIL)
    assert allowance is not None
    assert allowance.room(world.wall) == 0
    assert [one.state for one in world.warming.views(A2)] == [WarmUpState.PAUSED]


def test_what_a_standby_sends_in_the_place_of_another_judges_no_trickle(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.configure(pools={PoolName("p"): Pool(active=(A1,), standby=(A2,), trickle=30)})
    world.send(10)
    world.pass_(1)
    world.service = {A2: MemberState.ACTIVE}
    world.counters.bounced("p", "s", A2, GMAIL, 500)
    assert world.pass_(1) == []
    world.service = {}
    world.pass_(1)
    assert [(one.delivered, one.bounced, one.state) for one in world.warming.views(A2)] == [
        (10, 0, WarmUpState.TRICKLE)
    ]
