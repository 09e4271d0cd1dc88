"""A warm standby takes the place of a virtual MTA in the middle of an incident."""

import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailagent.api.errors import GuardRefused, Refused
from mailagent.api.operations import Result
from mailagent.api.reasons import ReasonKind
from mailagent.api.views import MemberState, Snapshot
from tests.integration.rig import LATE, MKT1, MKT3, rig

POOLS = """\
virtual_mtas:
  mkt-1: {address: 127.0.1.1}
  mkt-3: {address: 127.0.1.3}
  tx-1: {address: 127.0.2.1}
  away: {address: 203.0.113.1}
  tx-2: {address: 127.0.2.2}
pools:
  marketing: {active: [mkt-1], standby: [mkt-3]}
  tx: {active: [tx-1]}
  far: {active: [tx-2], standby: [away]}
streams:
  default: {pool: marketing}
  tx: {pool: tx}
  far: {pool: far}
"""
SPREAD = timedelta(seconds=60)


async def test_rotation_moves_new_and_deferred_mail_to_the_standby_and_back(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        one.sink.refuse = lambda mail, recipient: b"450 4.7.28 too much mail\r\n" if mail.source == MKT1 else None
        old = [f"old{n}@a.example" for n in range(60)]
        await one.accepted(*old)
        await one.deferred(len(old))
        assert {mail.source for mail in one.sink.mails} == {MKT1}
        planned = await one.do("rotate", "vmta:mkt-1", dry_run=True)
        rotated_at = datetime.now(UTC)
        result = await one.do("rotate", "vmta:mkt-1", expect=planned.generation)
        assert result.result is Result.APPLIED
        seen = len(one.sink.mails)
        await one.accepted("new@a.example")
        await one.delivered("new@a.example")
        assert one.sink.sources_of("new@a.example") == {MKT3}
        # what waited only for the old address is due within the spread, one after the other
        due = [row.next_try_at for row in await one.waiting(deferred_only=True)]
        assert max(due) <= rotated_at + SPREAD + timedelta(seconds=2)
        assert len({at.replace(microsecond=0) for at in due}) > len(due) // 2
        await one.holds(lambda: len(one.sink.received) >= 3, "the first two deferred ones")
        assert {mail.source for mail in one.sink.mails[seen:]} == {MKT3}
        states = _states(await one.shows(lambda now: _states(now)["mkt-1"] is MemberState.QUARANTINED, "old is out"))
        assert states["mkt-3"] is MemberState.ACTIVE
        await one.restart(signal.SIGKILL)
        assert _states(await one.snapshot())["mkt-3"] is MemberState.ACTIVE
        one.sink.refuse = lambda mail, recipient: None
        await one.do("undo", undoes=result.op_id)
        await one.accepted("back@a.example")
        await one.delivered("back@a.example")
        assert one.sink.sources_of("back@a.example") == {MKT1}
        assert _states(await one.snapshot())["mkt-3"] is MemberState.STANDBY


async def test_rotation_moves_what_a_throttled_address_still_holds_at_once(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        one.sink.refuse = lambda mail, recipient: b"421 4.7.28 too much mail\r\n" if mail.source == MKT1 else None
        recipients = [f"r{n}@a.example" for n in range(40)]
        await one.accepted(*recipients)  # each 421 makes the queue pause
        await one.deferred(2)
        await one.do("rotate", "vmta:mkt-1")
        tried = {recipient for mail in one.sink.mails if mail.source == MKT1 for recipient in mail.refused}
        untried = set(recipients) - tried
        assert untried
        await one.delivered(*untried, timeout_s=2)
        assert one.sink.sources.keys() == {MKT3}


async def test_rotation_is_refused_without_a_standby_or_with_one_whose_address_is_not_here(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        with pytest.raises(Refused, match="no standby"):
            await one.do("rotate", "vmta:tx-1")
        with pytest.raises(GuardRefused, match=r"203\.0\.113\.1 cannot be bound"):
            await one.do("rotate", "vmta:tx-2")
        assert (await one.snapshot()).directives == ()
        await one.do("rotate", "vmta:tx-2", override=True, reason="it will come up")
        await one.accepted("r@a.example", headers="X-Virtual-MTA: far\r\n")
        await one.shows(lambda now: any("203.0.113.1" in vmta.reason for vmta in now.vmtas), "the bind error")
        (reason,) = (await one.explain("r@a.example")).reasons[:1]
        assert reason.kind is ReasonKind.BIND
        assert not one.sink.mails


def _states(snapshot: Snapshot) -> dict[str, MemberState]:
    return {str(vmta.name): vmta.state for vmta in snapshot.vmtas}
