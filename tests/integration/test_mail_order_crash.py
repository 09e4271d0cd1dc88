"""Kill -9 in the middle of an order on mail: after the restart it goes on, and nothing is lost or doubled."""

import asyncio
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mailagent.api.errors import InvalidRequest
from mailagent.api.targets import MessageFilter
from mailagent.spool import crash, spool_check
from tests.integration.rig import LATE, POOLS, TX1, Rig, rig

A = MessageFilter(domain="a.example")
TO_B = "r@b.example"


async def _filled(one: Rig, messages: int, each: int) -> set[str]:
    """Everything waits for its second attempt, an hour from now: recipients at A, beside one at B."""
    one.sink.refuse = lambda mail, recipient: b"450 4.2.0 not now\r\n"
    to_a = [[f"r{n}-{m}@a.example" for n in range(each)] for m in range(messages)]
    for recipients in (*to_a, [TO_B]):
        reply = await one.send(*recipients, sender="app@sender.example")
        assert reply.startswith("250"), reply
    await one.shows(lambda now: now.host.deferred == messages * each + 1, "all of it was tried")
    one.sink.refuse = lambda mail, recipient: None
    return {name for recipients in to_a for name in recipients}


async def _killed(one: Rig, at: str, verb: str = "", *, over: bool = False, **fields: Any) -> None:
    """Run until it is killed there, by a verb or by a grace that is `over`; then start it again."""
    await one.stop()
    if over:
        one.expire_orders("bounce")
    begin = one.agent.launch if over else one.agent.start  # it may be killed before it greets
    await asyncio.to_thread(begin, **{crash.ENVIRONMENT: at})
    process = one.agent.process
    assert process is not None
    if verb:
        with pytest.raises((ConnectionError, InvalidRequest)):
            await one.do(verb, **fields)
    assert await asyncio.to_thread(process.wait, 30) == -9
    await one.hang_up()
    assert spool_check(one.agent.directory / "state") == []
    await one.start()
    if verb:  # whoever asked does so again
        assert (await one.do(verb, **fields)).op_id == fields["op_id"]


async def _held(one: Rig, count: int) -> None:
    await one.shows(
        lambda now: sum(view.mail.held for view in now.directives if view.mail is not None) == count,
        f"{count} are held",
    )


async def _sent(one: Rig) -> dict[str, str]:
    """All that waits is sent: where each recipient's came from."""
    await one.do("retry", filter=MessageFilter(), spread_s=0)
    await one.shows(lambda now: now.host.waiting == 0, "nothing waits")
    assert {count for name, count in one.sink.received.items() if name != "app@sender.example"} == {1}
    return {name: mail.source for mail in one.sink.mails if mail.taken for name in mail.recipients}


async def test_a_hold_and_its_release_go_on(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        to_a = await _filled(one, 3, 900)
        await _killed(one, "order_taken:2", "hold", filter=A, op_id="h")
        await _held(one, len(to_a))
        await _killed(one, "order_freed:2", "release", filter=A, op_id="r")
        await _held(one, 0)
        await one.shows(lambda now: not [view for view in now.directives if view.mail is not None], "both are over")
        assert (await _sent(one)).keys() == to_a | {TO_B}


async def test_a_rebind_goes_on(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        to_a = await _filled(one, 3, 900)
        await _killed(one, "order_rebound:3", "rebind", filter=A, pool="tx", op_id="m")
        await one.shows(lambda now: not [view for view in now.directives if view.mail is not None], "it is over")
        sources = await _sent(one)
        assert {name for name, source in sources.items() if source == TX1} == to_a
        assert sources.keys() == to_a | {TO_B}


async def test_a_bounce_goes_on_in_its_grace_and_after_it(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        to_a = await _filled(one, 3, 45)
        await _killed(one, "order_taken", "bounce", filter=A, op_id="b")
        await _held(one, len(to_a))
        # a report that is on its way when the agent is killed may rightly come twice
        one.sink.refuse = lambda mail, recipient: b"450 4.2.0 not now\r\n"
        await _killed(one, "order_given_up:2", over=True)
        await one.shows(lambda now: now.host.deferred == now.host.waiting == len(to_a) + 1, "all reports wait")
        one.sink.refuse = lambda mail, recipient: None
        sources = await _sent(one)
        assert sources.keys() == {TO_B, "app@sender.example"}
        reports = b"".join(
            mail.data for mail in one.sink.mails if mail.taken and "app@sender.example" in mail.recipients
        )
        assert Counter(re.findall(rb"Final-Recipient: rfc822; ?(\S+)", reports)) == Counter(
            name.encode() for name in to_a
        )
        await one.stop()
        events = {line["event"]: line["recipient"] for line in one.accounting() if line["type"] == "bounced"}
        assert Counter(events.values()) == Counter(to_a)
