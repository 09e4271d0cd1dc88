"""Orders on waiting mail: hold, release, bounce and delete, through a restart and back."""

from pathlib import Path

import pytest

from mailagent.api.directives import DirectiveKind
from mailagent.api.errors import InvalidRequest, NotFound, Refused
from mailagent.api.operations import Result
from mailagent.api.reasons import ReasonKind
from mailagent.api.targets import MessageFilter
from tests.integration.processes import until
from tests.integration.rig import LATE, MKT2, POOLS, SOON, TX1, Rig, rig

A = MessageFilter(domain="a.example")


async def _deferred(one: Rig, *recipients: str) -> None:
    """Have mail for `recipients` wait for its second attempt, an hour from now."""
    one.sink.refuse = lambda mail, recipient: b"450 4.2.0 not now\r\n"
    await one.accepted(*recipients, sender="app@sender.example")
    await one.deferred(len(recipients))
    one.sink.refuse = lambda mail, recipient: None


async def _nothing_is_held(one: Rig) -> bool:
    return not await one.waiting(held=True)


async def test_held_mail_stays_through_a_retry_and_a_restart_until_it_is_released(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        await _deferred(one, "r1@a.example", "r2@a.example", "r@b.example")
        plan = await one.do("hold", filter=A, dry_run=True)
        assert (plan.result, plan.impact.messages) == (Result.PLANNED, 2)
        (part,) = plan.impact.parts
        assert (part.pool, part.stream, part.count) == ("marketing", "marketing", 2)
        assert plan.impact.oldest_at is not None
        with pytest.raises(Refused, match="2 recipients match, more than 1"):
            await one.do("hold", filter=A, max_affected=1)
        held = await one.do("hold", filter=A, op_id="hold-1")
        assert (held.result, held.undoable) == (Result.APPLIED, True)
        again = await one.do("hold", filter=A, op_id="hold-1")
        assert again.directives == held.directives
        assert (await one.do("undo", undoes="hold-1", dry_run=True)).impact.messages == 2
        assert (await one.do("hold", filter=A)).result is Result.NOTHING_TO_DO

        detail = await one.explain("r1@a.example")
        (reason,) = detail.reasons
        assert reason.kind is ReasonKind.HELD
        assert reason.release == f"mailctl release message:{detail.summary.message_id}"
        groups = (await one.call("deferred")).groups
        assert sum(group.held for group in groups) == 2 < sum(group.count for group in groups)
        assert {row.recipient for row in await one.waiting(held=True)} == {"r1@a.example", "r2@a.example"}

        retried = await one.do("retry", filter=MessageFilter(), spread_s=0)
        assert retried.result is Result.APPLIED
        await one.delivered("r@b.example")
        await one.restart()
        await one.shows(
            lambda state: [row.waiting for row in state.directives if row.directive.kind is DirectiveKind.HOLD] == [2],
            "both are counted as held",
        )
        assert "r1@a.example" not in one.sink.received

        (waits, _) = await one.waiting(held=True)
        single = await one.do("release", filter=MessageFilter(message_id=waits.message_id))
        assert single.impact.messages == 1
        await one.do("retry", filter=A, spread_s=0)
        await one.delivered(waits.recipient)
        rest = await one.do("release", filter=A)
        assert rest.impact.messages == 1
        await one.do("retry", filter=A, spread_s=0)
        await one.delivered("r1@a.example", "r2@a.example")
        assert (await one.snapshot()).directives == ()
        assert one.sink.received["r1@a.example"] == one.sink.received["r2@a.example"] == 1


async def test_undo_frees_what_was_held_and_holds_what_was_released(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        await _deferred(one, "r1@a.example", "r2@a.example")
        await one.do("hold", filter=A, op_id="h")
        undone = await one.do("undo", undoes="h")
        assert undone.result is Result.APPLIED
        await until(lambda: _nothing_is_held(one), "nothing is held")
        assert (await one.do("hold", filter=A, op_id="h2")).impact.messages == 2
        await one.do("release", filter=A, op_id="r")
        assert await one.waiting(held=True) == ()
        await one.do("undo", undoes="r")
        await one.shows(lambda now: [view.waiting for view in now.directives] == [2], "both are held again")


async def test_new_mail_flows_while_older_mail_to_the_same_place_is_held(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + SOON) as one:
        await one.do("suspend", "provider:default")
        await one.accepted("old@a.example")
        await one.shows(lambda now: now.host.waiting == 1, "it waits")
        await one.do("hold", filter=A)
        await one.do("resume", "provider:default")
        await one.accepted("new@a.example")
        await one.delivered("new@a.example")
        assert "old@a.example" not in one.sink.received


async def test_mail_is_given_up_after_its_grace_and_kept_when_the_order_is_undone(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        await _deferred(one, "gone@a.example", "back@b.example", "kept@c.example", "kept@d.example")
        for verb, domain in (("delete", "a"), ("bounce", "b"), ("delete", "c")):
            done = await one.do(verb, filter=MessageFilter(domain=f"{domain}.example"), op_id=verb + domain)
            assert (done.impact.messages, done.undoable) == (1, True)
        with pytest.raises(InvalidRequest, match="after 5 minutes"):
            await one.do("delete", filter=A, ttl_s=1)
        with pytest.raises(InvalidRequest, match="longer, not shorter"):
            await one.do("edit", directive="deletea-1", ttl_s=1)
        await one.do("undo", undoes="deletec")
        await one.stop()
        one.expire_orders()
        await one.start()
        await one.delivered("app@sender.example")  # the DSN
        (report,) = [mail for mail in one.sink.mails if "app@sender.example" in mail.recipients]
        assert b"back@b.example" in report.data
        await one.shows(lambda now: now.host.waiting == 2, "two wait")
        assert {row.recipient for row in await one.waiting()} == {"kept@c.example", "kept@d.example"}
        assert await one.waiting(held=True) == ()
        late = await one.do("undo", undoes="deletea")
        assert late.result is Result.NOTHING_TO_DO
        await one.stop()
        lines = [
            (line["type"], line["recipient"]) for line in one.accounting() if line["type"] in ("deleted", "bounced")
        ]
        assert sorted(lines) == [("bounced", "back@b.example"), ("deleted", "gone@a.example")]


async def test_mail_leaves_from_another_pool_and_back_with_its_attempts(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        await _deferred(one, "r1@a.example", "r2@a.example", "r@b.example")
        with pytest.raises(NotFound, match="no pool nowhere"):
            await one.do("rebind", filter=A, pool="nowhere")
        moved = await one.do("rebind", filter=A, pool="tx", op_id="m")
        assert (moved.impact.messages, moved.undoable) == (2, True)
        assert {(row.recipient, row.attempts) for row in await one.waiting(pool="tx")} == {
            ("r1@a.example", 1),
            ("r2@a.example", 1),
        }
        assert (await one.do("rebind", filter=A, pool="tx")).result is Result.NOTHING_TO_DO
        await one.do("undo", undoes="m")
        await until(lambda: _in_pool(one, "marketing", 3), "all are back")
        await one.do("rebind", filter=A, pool="tx")
        await one.restart()
        await one.do("retry", filter=MessageFilter(), spread_s=0)
        await one.delivered("r1@a.example", "r2@a.example", "r@b.example")
        assert one.sink.mails[-1].taken
        delivered = [(mail.recipients[0], mail.source) for mail in one.sink.mails if mail.taken]
        assert {source for name, source in delivered if name.endswith("@a.example")} == {TX1}
        assert TX1 not in {source for name, source in delivered if name.endswith("@b.example")}
        await one.shows(lambda now: now.host.waiting == 0, "nothing waits")
        await one.stop()
        lines = [(line["recipient"], line["pool"]) for line in one.accounting() if line["type"] == "delivered"]
        assert sorted(lines) == [("r1@a.example", "tx"), ("r2@a.example", "tx"), ("r@b.example", "marketing")]


async def _in_pool(one: Rig, pool: str, count: int) -> bool:
    return len(await one.waiting(pool=pool)) == count


async def test_a_probe_goes_through_a_suspended_path_once_and_tells_the_reply(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + SOON) as one:
        one.sink.refuse = lambda mail, recipient: b"450 4.2.0 not now\r\n"
        await one.accepted(*(f"r{n}@a.example" for n in range(5)))
        await one.deferred(5)
        await one.do("suspend", "pool:marketing")
        await one.shows(lambda now: now.host.connections_out == 0, "nothing is sent")
        (row, *_) = await one.waiting()
        planned = await one.do("probe", f"queue:{row.site}/mkt-1", dry_run=True)
        assert planned.impact.messages == 1
        assert planned.result is Result.PLANNED
        refused = await one.do("probe", f"queue:{row.site}/mkt-1", op_id="p1")
        assert "450 4.2.0 not now" in refused.detail
        one.sink.refuse = lambda mail, recipient: None
        assert (await one.do("probe", f"queue:{row.site}/mkt-1", op_id="p1")).op_id == "p1"
        taken = await one.do("probe", f"cell:{row.provider}/mkt-2")
        assert "250" in taken.detail
        log = await one.call("operations", limit=20)
        tried = {str(record.target) for record in log.rows if record.verb == "probe"}
        assert tried == {f"queue:{row.site}/mkt-1", f"cell:{row.provider}/mkt-2"}
        await one.shows(lambda now: now.host.waiting == 4, "four wait")
        assert one.sink.received.total() == 1
        assert one.sink.sources_of(*one.sink.received) == {MKT2}
        with pytest.raises(InvalidRequest, match="no path"):
            await one.do("probe", "pool:marketing")
        await one.do("resume", "pool:marketing")
        await one.shows(lambda now: now.host.waiting == 0, "nothing waits")
        assert set(one.sink.received.values()) == {1}
