"""The plan of an evacuation: what goes where, what stays and why, and what an operator should know before."""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from mailagent.api.evacuation import (
    Direction,
    EvacuationRoom,
    Evacuations,
    EvacuationSource,
    EvacuationState,
    EvacuationTarget,
    EvacuationView,
    Leaving,
    Parcel,
    ParcelHeader,
    ParcelState,
    Seals,
    StreamRoom,
)
from mailagent.api.ids import HostName, OpId, PoolName, StreamName
from mailctl.fleet import Fleet
from mailctl.fleet.errors import Unreachable
from mailctl.ops.carrying import question
from mailctl.ops.errors import NothingSelected, OptionError
from mailctl.ops.evacuation import EvacuationPlan, plan_evacuation
from mailctl.ops.plan import Options, StepState
from tests.console.loopback import START

NEWS, OTP = StreamName("news"), StreamName("otp")
SOURCE = EvacuationSource(
    host=HostName("mx1"),
    rows=(
        Leaving(stream=NEWS, pool=PoolName("marketing"), waiting=1000),
        Leaving(stream=NEWS, pool=PoolName("marketing"), waiting=20, stays="an order on mail has it"),
        Leaving(stream=OTP, pool=PoolName("tx"), waiting=3),
    ),
    message_bytes=10_000,
    in_window=40,
    accepting=False,
)


PARCEL = Parcel(
    header=ParcelHeader(
        id="e/1",
        evacuation=OpId("e"),
        source=HostName("mx1"),
        source_tag="ABCDEF",
        target=HostName("mx3"),
        target_spool="spool of mx3",
        messages=1,
        recipients=1,
        size_bytes=10,
        digest="d",
        seals=Seals(given="g", returned="r"),
    ),
    state=ParcelState.RETURNED,
)


def room(host: str, *, otp: str = "", **more: Any) -> EvacuationRoom:
    """A host that takes news, and otp unless it says why not."""
    streams = (
        StreamRoom(stream=NEWS, pool=PoolName("marketing"), senders=2, held=more.pop("held", "")),
        StreamRoom(stream=OTP, pool=PoolName("tx"), senders=1, refusal=otp),
    )
    given = {"free_bytes": 1 << 36, "waiting": 0} | more
    return EvacuationRoom(host=HostName(host), spool_id=f"spool of {host}", streams=streams, **given)


class Answers:
    """What hosts answer; only questions that change nothing are asked for a plan."""

    path = None

    def __init__(self, *rooms: EvacuationRoom, source: EvacuationSource = SOURCE, view: EvacuationView | None = None):
        self.inventory = SimpleNamespace(hosts={"mx1": None, "mx2": None, "mx3": None})
        self._rooms = {one.host: one for one in rooms}
        self._source = source
        self._views = Evacuations(rows=(view,) if view is not None else ())

    async def ask(self, host: str, method: str, _: msgspec.Struct, **__: Any) -> Any:
        assert host == "mx1"
        return {"evacuation_source": self._source, "evacuations": self._views}[method]

    async def ask_all(self, method: str, _: msgspec.Struct, *, hosts: Iterable[str], **__: Any) -> dict[HostName, Any]:
        assert method == "evacuation_room"
        away = Unreachable("it", "no route to host")
        return {HostName(host): self._rooms.get(HostName(host), away) for host in hosts}


async def planned(*to: str, answers: Answers, **more: Any) -> EvacuationPlan:
    return await plan_evacuation(cast(Fleet, answers), "mx1", to, **more)


async def test_each_stream_goes_where_it_is_known_and_the_rest_stays_with_a_reason() -> None:
    plan = await planned("mx2", "mx3", answers=Answers(room("mx2"), room("mx3", otp="has no stream otp")))
    assert [(row.stream, row.waiting, row.to, row.stays) for row in plan.rows] == [
        ("news", 1000, ("mx2", "mx3"), ""),
        ("news", 20, (), "an order on mail has it"),
        ("otp", 3, ("mx2",), ""),
    ]
    assert (plan.leaving, plan.staying) == (1003, 20)
    assert [(one.host, one.spool_id, one.streams) for one in plan.targets] == [
        ("mx2", "spool of mx2", ("news", "otp")),
        ("mx3", "spool of mx3", ("news",)),
    ]
    assert plan.warnings == ()
    assert plan.command == "mailctl evacuate mx1 --to mx2,mx3"


async def test_a_target_that_is_away_or_full_takes_nothing_and_the_others_do() -> None:
    plan = await planned("mx2", "mx3", answers=Answers(room("mx2", refusal="disk full: 1 MiB free")))
    assert not plan.is_possible
    assert plan.rows[0].stays == "mx2 disk full: 1 MiB free; mx3: no route to host"
    asked = question(plan, Options())
    assert [step.state for step in asked.steps] == [StepState.REFUSED, StepState.REFUSED, StepState.UNREACHABLE]


async def test_what_is_risky_is_said_before() -> None:
    source = msgspec.structs.replace(
        SOURCE,
        accepting=True,
        rows=(Leaving(stream=NEWS, pool=PoolName("marketing"), waiting=1000, held="marketing is drained by alice"),),
    )
    plan = await planned(
        "mx2", answers=Answers(room("mx2", free_bytes=1000, waiting=90, waiting_limit=100), source=source)
    )
    assert plan.is_possible
    assert plan.warnings == (
        "mx1 still accepts new mail: mailctl drain host:mx1",
        "news is held here (marketing is drained by alice) and would be sent by mx2",
        "the targets may not have room on their disks for all of it",
        "the targets take 10 recipients more at most",
    )
    held = await planned("mx2", answers=Answers(room("mx2", held="it is suspended by bob"), source=source))
    assert "news is held on mx2: it is suspended by bob" in held.warnings
    assert not any("would be sent" in warning for warning in held.warnings)


async def test_one_that_is_under_way_goes_on_as_it_was_begun() -> None:
    target = EvacuationTarget(host=HostName("mx3"), spool_id="spool of mx3", streams=(NEWS,))
    view = EvacuationView(
        id=OpId("e"), direction=Direction.OUT, state=EvacuationState.OPEN, peers=(HostName("mx3"),), streams=(NEWS,),
        targets=(target,), author="alice", reason="new disks", at=START,
    )  # fmt: skip
    answers = Answers(room("mx3"), view=view)
    plan = await planned(answers=answers)
    assert (plan.id, plan.resumes, [place.host for place in plan.places]) == ("e", view, ["mx3"])
    assert {row.stream for row in plan.rows} == {"news"}
    with pytest.raises(OptionError, match="evacuation e of mx1 to mx3 is under way"):
        await planned("mx2", answers=answers)
    cancelled = msgspec.structs.replace(view, state=EvacuationState.CANCELLED, parcels=(PARCEL,))
    answers = Answers(room("mx2"), view=cancelled)
    assert (await planned("mx2", answers=answers)).resumes is None
    assert (await planned(answers=answers)).resumes == cancelled


@pytest.mark.parametrize(
    ("to", "error", "words"),
    [
        (("mx9",), NothingSelected, "no host mx9"),
        (("mx1",), OptionError, "to itself"),
        ((), OptionError, "name hosts to go to"),
    ],
)
async def test_hosts_that_make_no_sense_are_refused(to: tuple[str, ...], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        await planned(*to, answers=Answers(room("mx2")))
