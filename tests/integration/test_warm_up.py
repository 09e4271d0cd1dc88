"""A new address sends what its day allows and no more, whatever waits; the receiver's log is the judge."""

import asyncio
import signal
import time
from pathlib import Path

from mailagent.api.reasons import ReasonKind
from mailagent.api.requests import HistoryScope
from mailagent.api.views import Snapshot
from mailagent.api.warm_up import WarmUps, WarmUpState, WarmUpView
from mailagent.telemetry.archive import Archive
from tests.integration.client import Client
from tests.integration.rig import MKT1, MKT2, SOON, Rig, rig
from tests.integration.sink import Mail
from tests.integration.test_reload import signalled

MIXED = """\
virtual_mtas: {mkt-1: {address: 127.0.1.1}, mkt-2: {address: 127.0.1.2}}
pools: {marketing: {active: [mkt-1], warming: [mkt-2]}}
streams: {default: {pool: marketing}}
providers: {big: {mx: [big.example], sites: {big: [mx.big.example]}}}
"""
ALONE = MIXED.replace("active: [mkt-1], warming: [mkt-2]", "warming: [mkt-2], standby: [mkt-1]")
FIVE = "warm_up: {start: 5, target: 40, weeks: 1, spread: 1s}\n"
"""Five on the first day, as fast as they come."""
SHORT = "warm_up: {start: 5, target: 40, weeks: 1, spread: 1s, day: 2s}\n"


def sent_by(one: Rig, source: str) -> int:
    return sum(mail.source == source for mail in one.sink.mails)


def course(snapshot: Snapshot, provider: str = "big") -> WarmUpView:
    (member,) = (vmta for vmta in snapshot.vmtas if vmta.name == "mkt-2")
    return next(one for one in member.warm_up if one.provider == provider)


async def hand_in(one: Rig, count: int, name: str = "r") -> list[str]:
    recipients = [f"{name}{n}@big.example" for n in range(count)]
    await Client(one.port, iter(recipients)).run(4)
    return recipients


async def test_what_the_day_has_no_room_for_leaves_from_active_members(tmp_path: Path) -> None:
    async with rig(tmp_path, MIXED + SOON + FIVE) as one:
        await one.delivered(*await hand_in(one, 60))
        assert sent_by(one, MKT2) == 5
        assert sent_by(one, MKT1) == 55
        snapshot = await one.shows(lambda shot: course(shot).delivered == 5, "five counted")
        seen = course(snapshot)
        assert (seen.state, seen.day, seen.days, seen.ceiling, seen.used) == (WarmUpState.CLIMBING, 1, 7, 5, 5)
        assert set(one.sink.received.values()) == {1}


async def test_without_active_members_the_rest_waits_and_says_for_what(tmp_path: Path) -> None:
    async with rig(tmp_path, ALONE + SOON + FIVE) as one:
        await hand_in(one, 12)
        await one.holds(lambda: sent_by(one, MKT2) == 5, "five of them")
        (waiting, *others) = await one.waiting()
        assert len(others) == 6
        reason = (await one.explain(waiting.recipient)).reasons[0]
        assert reason.kind is ReasonKind.THROTTLE
        assert reason.detail == "warm-up of mkt-2 at big: 5 of 5 sent on day 1"
        assert (reason.key, reason.value) == ("warm_up", "5")
        assert reason.until is not None
        assert waiting.attempts == 0


async def test_a_restart_forgets_neither_the_day_nor_what_it_has_sent(tmp_path: Path) -> None:
    async with rig(tmp_path, ALONE + SOON + FIVE) as one:
        await hand_in(one, 12)
        await one.holds(lambda: sent_by(one, MKT2) == 5, "five of them")
        await one.restart()
        await one.accepted("later@big.example")
        seen = course(await one.shows(lambda shot: any(vmta.warm_up for vmta in shot.vmtas), "the course"))
        assert (seen.day, seen.used) == (1, 5)
        assert len(await one.waiting()) == 8
        assert sent_by(one, MKT2) == 5


async def test_days_follow_one_another_and_let_more_through(tmp_path: Path) -> None:
    async with rig(tmp_path, ALONE + SOON + SHORT) as one:
        await one.delivered(*await hand_in(one, 40), timeout_s=60)
        snapshot = await one.shows(lambda shot: course(shot).day > 2 and not course(shot).used, "a day without mail")
        assert course(snapshot).ceiling > 5
        found: WarmUps = await one.call("warm_up", vmta="mkt-2")
        (known,) = found.courses
        assert known.past[0].used <= 5
        assert all(day.used <= day.ceiling for day in known.past)
        assert sum(day.delivered for day in known.past) == 40
        assert {mail.source for mail in one.sink.mails} == {MKT2}


async def test_refusals_of_the_address_pause_it_and_its_mail_goes_elsewhere(tmp_path: Path) -> None:
    def refuse(mail: Mail, recipient: str) -> bytes | None:
        blocked = mail.source == MKT2 and recipient.startswith("bad")
        return b"550 5.7.1 Service unavailable; client host blocked using Spamhaus\r\n" if blocked else None

    text = MIXED + SOON + FIVE.replace("start: 5", "start: 20") + "automation: {mode: off}\n"
    async with rig(tmp_path, text) as one:
        one.sink.refuse = refuse
        await hand_in(one, 12, "bad")
        snapshot = await one.shows(lambda shot: bool(course(shot).why), "the pause")
        seen = course(snapshot)
        assert seen.state is WarmUpState.PAUSED
        assert "refused as blocked" in seen.why
        assert seen.until is not None
        before = sent_by(one, MKT2)
        await one.delivered(*await hand_in(one, 10, "good"))
        assert sent_by(one, MKT2) == before
        notes = await one.call("operations")
        assert any(record.verb == "warm-up" and "mkt-2 at big: paused" in record.detail for record in notes.rows)


async def test_a_member_that_becomes_active_has_no_ceiling_and_one_that_goes_back_its_old_day(tmp_path: Path) -> None:
    async with rig(tmp_path, ALONE + SOON + FIVE) as one:
        recipients = await hand_in(one, 12)
        await one.holds(lambda: sent_by(one, MKT2) == 5, "five of them")
        one.configure(ALONE.replace("warming: [mkt-2]", "active: [mkt-2]") + SOON + FIVE)
        signalled(one, signal.SIGHUP)
        await one.delivered(*recipients)
        assert not any(vmta.warm_up for vmta in (await one.snapshot()).vmtas)
        one.configure(ALONE + SOON + FIVE)
        signalled(one, signal.SIGHUP)
        seen = course(await one.shows(lambda shot: any(vmta.warm_up for vmta in shot.vmtas), "the course"))
        assert (seen.day, seen.used) == (1, 5)


async def test_what_was_tried_stays_with_the_address_that_tried_it(tmp_path: Path) -> None:
    refused: set[str] = set()

    def refuse(mail: Mail, recipient: str) -> bytes | None:
        if mail.source != MKT2 or recipient in refused:
            return None
        refused.add(recipient)
        return b"451 4.7.1 Greylisted, try again later\r\n"

    async with rig(tmp_path, MIXED + SOON + FIVE) as one:
        one.sink.refuse = refuse
        await one.delivered(*await hand_in(one, 40))
        assert len(refused) == 5
        assert one.sink.sources_of(*refused) == {MKT2}


async def test_routes_have_no_warm_up(tmp_path: Path) -> None:
    async with rig(tmp_path, ALONE + SOON + FIVE) as one:
        route = f"routes: [{{match: '*', to: '127.0.0.1:{one.sink.port}'}}]\n"
        one.configure(ALONE + SOON + FIVE + route)
        await one.restart()
        await one.delivered(*await hand_in(one, 20))
        assert not any(vmta.warm_up for vmta in (await one.snapshot()).vmtas)


async def test_mail_for_one_provider_does_not_wait_for_another(tmp_path: Path) -> None:
    async with rig(tmp_path, ALONE + SOON + FIVE) as one:
        await hand_in(one, 12)
        await one.holds(lambda: sent_by(one, MKT2) == 5, "five of them")
        await asyncio.gather(one.accepted("a@one.example"), one.accepted("b@two.example"))
        await one.delivered("a@one.example", "b@two.example")
        assert course(await one.snapshot(), "default").used == 2


TRICKLE = MIXED.replace("warming: [mkt-2]", "standby: [mkt-2], trickle: 5")


async def test_a_standby_is_kept_warm_and_no_more_until_it_is_rotated_in(tmp_path: Path) -> None:
    async with rig(tmp_path, TRICKLE + SOON + "warm_up: {spread: 1s}\n") as one:
        await one.delivered(*await hand_in(one, 60))
        assert (sent_by(one, MKT2), sent_by(one, MKT1)) == (5, 55)
        seen = course(await one.shows(lambda shot: course(shot).delivered == 5, "five counted"))
        assert (seen.state, seen.day, seen.days, seen.ceiling, seen.used) == (WarmUpState.TRICKLE, 0, 0, 5, 5)
        rotated = await one.do("rotate", "vmta:mkt-1", standby="mkt-2")
        await one.delivered(*await hand_in(one, 20, "rotated"))
        assert sent_by(one, MKT2) == 25
        assert not any(vmta.warm_up for vmta in (await one.snapshot()).vmtas)
        one.sink.gate = asyncio.Event()
        recipients = await hand_in(one, 30, "back")
        await one.holds(lambda: one.sink.at_gate > 0, "mail at the receiver")
        await one.do("undo", undoes=rotated.op_id)
        (standby,) = (vmta for vmta in (await one.snapshot()).vmtas if vmta.name == "mkt-2")
        under_way = standby.in_doubt  # final dots that are out, as the agent wrote them down
        one.sink.gate.set()
        await one.delivered(*recipients)
        assert sent_by(one, MKT2) <= 25 + under_way  # what was past its final dot; the rest went back
        assert set(one.sink.received.values()) == {1}


async def test_a_standby_does_not_trickle_while_its_pool_is_drained_nor_to_a_route(tmp_path: Path) -> None:
    text = TRICKLE + SOON + "warm_up: {spread: 1s}\n"
    async with rig(tmp_path, text) as one:
        await one.do("drain", "pool:marketing")
        await hand_in(one, 6)
        await one.accepted("last@big.example")
        assert len(await one.waiting()) == 7
        assert sent_by(one, MKT2) == 0
        await one.do("undrain", "pool:marketing")
        await one.holds(lambda: len(one.sink.received) == 7, "all of it")
        assert sent_by(one, MKT2) in range(1, 6)
        before = sent_by(one, MKT2)
        one.configure(text + f"routes: [{{match: '*', to: '127.0.0.1:{one.sink.port}'}}]\n")
        await one.restart()
        await one.delivered(*await hand_in(one, 20, "routed"))
        assert sent_by(one, MKT2) == before


async def test_a_rotation_says_that_the_standby_was_silent_for_a_month(tmp_path: Path) -> None:
    async with rig(tmp_path, TRICKLE.replace(", trickle: 5", "") + SOON) as one:
        planned = await one.do("rotate", "vmta:mkt-1", dry_run=True)
        assert not any("silent" in warning or "has sent nothing" in warning for warning in planned.warnings)
        await one.stop()
        archive = Archive(one.agent.directory / "state" / "history.db")
        archive.add(int(time.time()) // 60 * 60 - 40 * 86_400, {(HistoryScope.VMTA, "mkt-2"): (0, 1, 0, 0)})
        archive.close()
        await one.start()
        planned = await one.do("rotate", "vmta:mkt-1", dry_run=True)
        assert "mkt-2 has sent nothing for 40 days: receivers will take it for new" in planned.warnings
        (standby,) = (vmta for vmta in (await one.snapshot()).vmtas if vmta.name == "mkt-2")
        assert standby.last_at is not None
