"""Orders on a Postfix queue: they act on the messages that they froze, and on no other."""

from pathlib import Path

import msgspec
import pytest

from mailagent.api.directives import DirectiveKind
from mailagent.api.errors import InvalidRequest, Refused
from mailagent.api.ids import OpId
from mailagent.api.operations import Result
from mailagent.api.targets import MessageFilter
from mailagent.postfix import frozen_acts, orders
from mailagent.postfix.acts import Act
from tests.agent.postfix.paper import PaperQueue, desk, queue_id

GMAIL = MessageFilter(domain="gmail.com")
ONE, TWO, THREE = queue_id(0), queue_id(1), queue_id(2)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "RETRY_S", 0.001)
    monkeypatch.setattr(frozen_acts, "TICK_S", 0.001)


async def test_a_hold_puts_what_matches_on_hold_and_undo_releases_exactly_that(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await at.mail("a@gmail.com")
        await at.mail("b@gmail.com", folder="hold")
        await at.mail("c@example.com")
        held = await at.do("hold", GMAIL)
        assert (held.result, held.impact.messages) == (Result.APPLIED, 1)
        assert [at.queue.folder(one) for one in (ONE, TWO, THREE)] == ["hold", "hold", "deferred"]
        at.queue.put(THREE, "hold")  # somebody else
        await at.undo(held)
        await at.idle()
        assert [at.queue.folder(one) for one in (ONE, TWO, THREE)] == ["deferred", "hold", "hold"]
        assert at.queue.did(Act.RELEASE) == [ONE]
        assert (await at.records())[0].detail == "domain:gmail.com: 1 message free again"


async def test_what_somebody_else_released_and_held_again_is_theirs(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await at.mail("a@gmail.com")
        await at.mail("b@gmail.com")
        held = await at.do("hold")
        at.queue.put(ONE, "deferred")  # by hand
        await at.undo(held)
        await at.idle()
        assert at.queue.did(Act.RELEASE) == [TWO]
        assert "1 message left alone: somebody else has held or released it" in (await at.records())[0].detail


async def test_a_bounce_waits_on_hold_then_expires_and_is_recorded(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await at.mail("a@gmail.com")
        await at.mail("b@gmail.com", folder="hold")
        bounced = await at.do("bounce")
        assert bounced.impact.messages == 2
        assert at.queue.did(Act.HOLD) == [ONE]
        assert at.queue.did(Act.EXPIRE) == []
        await at.grace_over()
        await at.idle()
        assert sorted(at.queue.did(Act.EXPIRE)) == [ONE, TWO]
        record = (await at.records())[0]
        assert (record.verb, record.author, record.detail) == (
            "bounced",
            "alice",
            "all mail: 2 messages returned to the sender",
        )


async def test_a_delete_taken_back_leaves_what_was_on_hold_before_on_hold(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await at.mail("a@gmail.com")
        await at.mail("b@gmail.com", folder="hold")
        deleted = await at.do("delete")
        await at.undo(deleted)
        await at.idle()
        assert [at.queue.folder(one) for one in (ONE, TWO)] == ["deferred", "hold"]
        assert at.queue.did(Act.DELETE) == []
        assert (await at.records())[0].detail == "all mail: 1 message free again; 1 message left on hold, as before"


@pytest.mark.parametrize("verb", ["bounce", "delete"])
async def test_giving_up_wants_long_queue_ids_and_says_how_to_get_them(tmp_path: Path, verb: str) -> None:
    async with desk(tmp_path, PaperQueue(long_ids=False)) as at:
        await at.mail("a@gmail.com")
        with pytest.raises(
            Refused, match=r"postconf -c /etc/postfix -e enable_long_queue_ids=yes && postfix -c /etc/postfix reload"
        ):
            await at.do(verb)
        assert (await at.do("hold")).result is Result.APPLIED


async def test_short_ids_and_other_recipients_are_left_alone_by_what_is_final(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await at.mail("a@gmail.com", name="C0A81F2B3D4")
        await at.mail("b@gmail.com", "c@example.com")
        await at.mail("d@gmail.com")
        planned = await at.do("delete", GMAIL, dry_run=True)
        assert planned.impact.messages == 2
        assert planned.warnings == (
            "1 message with other recipients too: Postfix acts on whole messages, so they are left alone",
        )
        done = await at.do("delete", GMAIL)
        assert "1 message left alone: a short queue id" in done.detail
        await at.grace_over()
        await at.idle()
        assert [name for _, name, _ in at.queue.acts] == [THREE, THREE]


async def test_a_reused_id_is_never_hit(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await at.mail("a@gmail.com")
        await at.mail("b@gmail.com")
        await at.mail("c@gmail.com")
        await at.do("delete")
        for name, change in ((ONE, {"sender": "x@y"}), (TWO, {"message_size": 1})):
            at.queue.entries[name] = msgspec.structs.replace(at.queue.entries[name], **change)
        del at.queue.entries[THREE]
        await at.grace_over()
        await at.idle()
        assert at.queue.did(Act.DELETE) == []
        assert (await at.records())[0].detail == (
            "all mail: 1 message not in the queue any more;"
            " 2 messages left alone: the queue id means another message by now"
        )


async def test_what_leaves_between_the_look_and_the_act_is_told(tmp_path: Path) -> None:
    def others(act: Act, ids: object) -> None:
        if act is Act.HOLD:
            at.queue.entries.pop(ONE, None)
            at.queue.put(TWO, "hold")

    async with desk(tmp_path) as at:
        for n in range(3):
            await at.mail(f"a{n}@gmail.com")
        at.queue.before = others
        held = await at.do("hold")
        assert "1 message not in the queue any more" in held.detail
        assert "1 message left alone: somebody else has held or released it" in held.detail
        await at.undo(held)
        await at.idle()
        assert at.queue.did(Act.RELEASE) == [THREE]


async def test_postsuper_that_fails_half_way_is_gone_on_with(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        for n in range(8):
            await at.mail(f"a{n}@gmail.com")
        at.queue.trouble = "postsuper: exit code 1: disk on fire"
        calls = 0

        def mend(act: Act, ids: object) -> None:
            nonlocal calls
            calls += 1
            if calls == 3:
                at.queue.trouble = ""

        at.queue.before = mend
        held = await at.do("hold")
        assert len(at.queue.did(Act.HOLD)) == 8
        await at.undo(held)
        await at.idle()
        assert sorted(at.queue.did(Act.RELEASE)) == [queue_id(n) for n in range(8)]


async def test_an_order_that_cannot_be_carried_out_says_why_and_is_over(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await at.mail("a@gmail.com")
        at.queue.unlisted = "postqueue ended with 69: mail system is down"
        await at.do("requeue")
        await at.idle()
        record = (await at.records())[0]
        assert record.verb == "requeued"
        assert "1 message not done; the queue cannot be listed: postqueue ended with 69" in record.detail
        assert at.queue.acts == []


async def test_what_is_held_is_released_however_long_that_cannot_be_done(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await at.mail("a@gmail.com")
        held = await at.do("hold")
        at.queue.unlisted = "down"
        await at.undo(held)
        await at.until(lambda: at.orders._failures.get("op1-1", 0) > frozen_acts.TRIES)
        at.queue.unlisted = ""
        await at.idle()
        assert at.queue.did(Act.RELEASE) == [ONE]


async def test_a_crash_between_the_act_and_its_record_loses_no_message(tmp_path: Path) -> None:
    queue = PaperQueue()
    async with desk(tmp_path, queue) as at:
        await at.mail("a@gmail.com")
        queue.trouble = "killed"

        def dies(act: Act, ids: object) -> None:
            queue.put(ONE, "hold")  # postsuper did it, and nobody heard of it

        queue.before = dies
        await at.do("hold")
        assert queue.did(Act.HOLD) == []
    queue.before, queue.trouble = (lambda _, __: None), ""
    async with desk(tmp_path, queue) as at:
        (directive,) = at.control.state.directives
        await at.until(lambda: (now := at.orders.progress(directive)) is not None and now.held == 1)
        at.ops = 10
        await at.do("release")
        await at.idle()
        assert queue.folder(ONE) == "deferred"


async def test_a_release_frees_what_holds_have_and_what_others_hold_but_no_grace(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await at.mail("a@gmail.com")
        await at.mail("b@gmail.com", folder="hold")
        await at.mail("c@example.com")
        await at.do("hold", GMAIL)
        await at.do("delete", MessageFilter(domain="example.com"))
        released = await at.do("release")
        assert released.impact.messages == 2
        await at.until(lambda: len(at.control.state.directives) == 1)
        assert [at.queue.folder(one) for one in (ONE, TWO, THREE)] == ["deferred", "deferred", "hold"]
        assert at.control.state.directives[0].kind is DirectiveKind.DELETE  # the empty hold has ended too
        undone = await at.undo(released)
        assert undone.result is Result.APPLIED
        await at.until(lambda: at.queue.folder(ONE) == "hold")


async def test_a_retry_tries_a_few_at_a_time_and_ends_itself(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        deferred = MessageFilter(domain="gmail.com")
        for n in range(50):
            await at.mail(f"a{n}@gmail.com")
        sql = "UPDATE recipient SET reply = 1"
        await at.spool.change_held(lambda transaction: transaction.db.execute(sql))
        sizes: list[int] = []
        at.queue.before = lambda _, ids: sizes.append(len(ids))
        planned = await at.do("retry", deferred, spread_s=1)
        assert planned.directives[0].kind is DirectiveKind.RETRY
        await at.idle()
        assert len(at.queue.did(Act.FLUSH)) == 50
        assert max(sizes) <= frozen_acts.MOST_PER_TICK
        assert (await at.records())[0].detail == "domain:gmail.com: 50 messages tried again"


async def test_a_requeue_ends_itself_and_leaves_held_mail(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await at.mail("a@gmail.com")
        await at.mail("b@gmail.com", folder="hold")
        asked = await at.do("requeue")
        await at.idle()
        assert at.queue.did(Act.REQUEUE) == [ONE]
        again = await at.do("requeue", op_id=OpId("op1"))
        assert again.result is Result.APPLIED
        assert again.directives == asked.directives
        assert at.queue.did(Act.REQUEUE) == [ONE]
        with pytest.raises(InvalidRequest, match="stands for another request"):
            await at.do("requeue", GMAIL, op_id=OpId("op1"))


async def test_more_than_allowed_is_refused(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await at.mail("a@gmail.com")
        await at.mail("b@gmail.com")
        with pytest.raises(Refused, match="2 recipients match, more than 1"):
            await at.do("hold", max_affected=1)
        assert at.queue.acts == []


async def test_an_id_of_an_unknown_form_is_left_alone(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await at.mail("a@gmail.com", name="aeiou-1")
        await at.mail("b@gmail.com")
        assert "1 message left alone" in (await at.do("hold")).detail
        assert [name for _, name, _ in at.queue.acts] == [TWO]


async def test_what_cannot_be_given_up_does_not_stay_on_hold(tmp_path: Path) -> None:
    def broken(act: Act, ids: object) -> None:
        at.queue.trouble = "postsuper: exit code 1" if act is Act.DELETE else ""

    async with desk(tmp_path) as at:
        await at.mail("a@gmail.com")
        at.queue.before = broken
        await at.do("delete")
        await at.grace_over()
        await at.idle()
        assert at.queue.folder(ONE) == "deferred"
        assert (await at.records())[0].detail == "all mail: 1 message not done; postsuper: exit code 1"
