"""The suppression list over a real spool: what outcomes, operators and incidents make of it, also after a restart."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from mailagent.api.classification import Action, Category, Scope, Verdict
from mailagent.api.smtp import SmtpReply, Verb
from mailagent.api.suppression import SuppressionPage, SuppressionQuery, SuppressionReason
from mailagent.config.suppression import AtIntake, Incident, Keep, SuppressionList
from mailagent.outcome.suppression import SuppressionBook, normal_address
from mailagent.spool.records import Waiting
from tests.agent.spool.mail import spool_in

UNKNOWN = SmtpReply(code=550, enhanced="5.1.1", text="User unknown", verb=Verb.RCPT)
HARD = Verdict(category=Category.BAD_MAILBOX, action=Action.SUPPRESS, scope=Scope.ADDRESS, rule="bad-mailbox")
SOFT = msgspec.structs.replace(HARD, category=Category.MAILBOX_FULL, action=Action.RETRY_THEN_SUPPRESS, rule="full")
DOMAIN = msgspec.structs.replace(HARD, category=Category.BAD_DOMAIN, rule="own-no-such-domain")
DAY = 86_400.0


class Desk:
    """A book with its clock, and what it told."""

    def __init__(self) -> None:
        self.now = 1_760_000_000.0
        self.frozen: set[str] = set()
        self.incidents: list[tuple[str, int]] = []
        self.outcomes = 0
        self.changes = 0
        self.messages = 0
        self.book: SuppressionBook

    def fail(self, address: str, verdict: Verdict = HARD, *, message: int = 0, stream: str = "news") -> None:
        self.messages += 1
        self.outcomes += 1
        row = msgspec.structs.replace(_row(address, stream), message=message or self.messages)
        self.book.failed(row, UNKNOWN, verdict, "gmail")

    def deliver(self, address: str) -> None:
        self.book.delivered(_row(address))

    async def stored(self) -> None:
        """Wait until what outcomes said is on disk."""
        for _ in range(3):
            await asyncio.sleep(0)
        await self.book.add([])

    async def page(self, **query: object) -> SuppressionPage:
        return await self.book.page(SuppressionQuery(**query))  # type: ignore[arg-type]

    def changed(self) -> None:
        self.changes += 1


def _row(address: str, stream: str = "news") -> Waiting:
    return Waiting(
        id=1, queue=1, due=0, address=address.encode(), attempts=0, vmta="", site="", message=1, sender=b"",
        size=1, eightbit=False, added=b"", received_at=0, expires_at=1, stream=stream, pool="marketing", job="",
    )  # fmt: skip


@asynccontextmanager
async def desk(state_dir: Path, config: SuppressionList | None = None, old: Desk | None = None) -> AsyncIterator[Desk]:
    one = old or Desk()
    async with spool_in(state_dir) as spool:
        one.book = SuppressionBook(
            config or SuppressionList(),
            spool,
            outcomes=lambda _: one.outcomes,
            frozen=lambda provider: provider in one.frozen,
            incident=lambda provider, held: one.incidents.append((provider, held)),
            clock=lambda: one.now,
        )
        await one.book.load()
        one.book.changed = one.changed
        yield one


async def test_a_hard_bounce_suppresses_at_once_and_after_a_restart(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        assert one.book.refusal(b"nobody@example.com") is None
        one.fail("Nobody@Example.com")
        assert one.book.find(b"nobody@EXAMPLE.com") is SuppressionReason.HARD_BOUNCE
        assert one.changes == 1
        await one.stored()
        (row,) = (await one.page()).rows
        assert row.address == "nobody@example.com"
        assert (row.source, row.evidence, row.provider) == ("bad-mailbox", "550 5.1.1 User unknown", "gmail")
    async with desk(tmp_path, old=one):
        refusal = one.book.refusal(b"nobody@example.com")
        assert refusal is not None
        assert refusal.line() == "550 5.7.1 this recipient is on the suppression list (hard-bounce)"
        assert one.book.of(_row("nobody@example.com")) == refusal
        assert one.book.of(_row("somebody@example.com")) is None


async def test_with_bounces_off_or_bounce_at_intake_the_list_says_less(tmp_path: Path) -> None:
    async with desk(tmp_path, SuppressionList(bounces=False)) as one:
        one.fail("nobody@example.com")
        assert len(one.book) == 0
    async with desk(tmp_path, SuppressionList(intake=AtIntake.BOUNCE)) as one:
        one.fail("nobody@example.com")
        assert not one.book.refuses
        assert one.book.of(_row("nobody@example.com")) is not None


async def test_soft_bounces_suppress_after_three_messages_over_fifteen_days(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        for message, day in ((1, 0), (1, 1), (2, 2), (3, 3), (3, 14)):
            one.now = 1_760_000_000 + day * DAY
            one.fail("full@example.com", SOFT, message=message)
            await one.stored()
            assert one.book.find(b"full@example.com") is None
    async with desk(tmp_path, old=one):  # the counts are on disk
        one.now += 2 * DAY
        one.fail("full@example.com", SOFT, message=4)
        await one.stored()
        assert one.book.find(b"full@example.com") is SuppressionReason.SOFT_BOUNCES
        (row,) = (await one.page()).rows
        assert row.expires_at == datetime.fromtimestamp(one.now, UTC) + timedelta(days=90)


async def test_the_same_message_over_weeks_is_one_and_a_delivery_forgives(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        for _ in range(20):
            one.now += DAY
            one.fail("full@example.com", SOFT, message=1)
            await one.stored()
        assert len(one.book) == 0
        for message in (2, 3, 4, 5):
            one.deliver("full@example.com")
            one.now += 10 * DAY
            one.fail("full@example.com", SOFT, message=message)
            await one.stored()
        assert len(one.book) == 0


async def test_a_count_that_rests_too_long_starts_anew(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        for message in range(1, 6):
            one.fail("full@example.com", SOFT, message=message)
            await one.stored()
            one.now += 50 * DAY
        assert len(one.book) == 0
        await one.book.upkeep()


async def test_a_domain_that_is_not_there_must_be_so_again_an_hour_later(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        one.fail("a@gone.example", DOMAIN)
        await one.stored()
        one.now += 600
        one.fail("b@gone.example", DOMAIN)
        await one.stored()
        assert len(one.book) == 0
        one.now += 3600
        one.fail("c@gone.example", DOMAIN)
        await one.stored()
        assert one.book.find(b"c@gone.example") is SuppressionReason.HARD_BOUNCE
        assert one.book.find(b"a@gone.example") is None  # each address when it is mailed again


async def test_entries_of_one_stream_hold_only_its_mail_and_never_at_intake(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        entry = one.book.entry("a@b.example", SuppressionReason.UNSUBSCRIBE, stream="news", source="alice")
        await one.book.add([entry])
    async with desk(tmp_path, old=one):
        assert one.book.find(b"a@b.example", "news") is SuppressionReason.UNSUBSCRIBE
        assert one.book.find(b"a@b.example", "receipts") is None
        assert one.book.refusal(b"a@b.example") is None


async def test_entries_expire(tmp_path: Path) -> None:
    config = SuppressionList(keep=Keep(hard_bounce=timedelta(days=10)))
    async with desk(tmp_path, config) as one:
        one.fail("nobody@example.com")
        await one.stored()
        one.now += 9 * DAY
        await one.book.upkeep()
        assert len(one.book) == 1
        one.now += 2 * DAY
        await one.book.upkeep()
        assert len(one.book) == 0
        assert one.changes == 2
        assert (await one.page()).rows == ()


async def test_a_bounce_does_not_shorten_what_an_operator_said_and_an_operator_replaces_anything(
    tmp_path: Path,
) -> None:
    config = SuppressionList(keep=Keep(hard_bounce=timedelta(days=10)))
    async with desk(tmp_path, config) as one:
        one.fail("a@b.example")
        await one.stored()
        manual = one.book.entry("a@b.example", SuppressionReason.MANUAL, source="alice")
        assert await one.book.add([manual]) == 1
        hard = one.book.entry("a@b.example", SuppressionReason.HARD_BOUNCE, source="rule")
        assert await one.book.add([hard], replace=False) == 0
        (row,) = (await one.page()).rows
        assert (row.reason, row.source, row.expires_at) == (SuppressionReason.MANUAL, "alice", None)
        complaint = one.book.entry("c@b.example", SuppressionReason.COMPLAINT, source="arf")
        assert await one.book.add([complaint, complaint], replace=False) == 2


async def test_frozen_means_pending_until_somebody_decides(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        one.frozen.add("gmail")
        for name in "abc":
            one.fail(f"{name}@example.com")
        await one.stored()
        assert len(one.book) == 0
        page = await one.page(pending=True)
        assert (len(page.rows), page.active, page.pending) == (3, 0, 3)
        assert await one.book.settle_pending(apply=True, provider="yahoo") == 0
        assert await one.book.settle_pending(apply=True, provider="gmail") == 3
        assert one.book.find(b"a@example.com") is SuppressionReason.HARD_BOUNCE
        one.fail("d@example.com")
        await one.stored()
        assert await one.book.settle_pending(apply=False) == 1
        assert {row.address for row in (await one.page()).rows} == {f"{name}@example.com" for name in "abc"}
    async with desk(tmp_path, old=one):
        assert len(one.book) == 3


async def test_an_incident_holds_back_what_it_has_suppressed_already(tmp_path: Path) -> None:
    config = SuppressionList(incident=Incident(least=20, share=0.5))
    async with desk(tmp_path, config) as one:
        one.fail("before@example.com")
        await one.stored()
        one.now += 3600
        one.outcomes += 1000
        for n in range(40):
            one.fail(f"{n}@example.com")
            one.now += 1
        await one.stored()
        ((provider, held),) = one.incidents
        assert provider == "gmail"
        assert 19 <= held < 40
        assert one.book.find(b"before@example.com") is not None
        assert len(one.book) == 1
        page = await one.page()
        assert (page.active, page.pending) == (1, 40)


async def test_pages_go_through_the_list_in_order(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        names = [f"user{n:03d}@example.com" for n in range(25)]
        await one.book.add([one.book.entry(name, SuppressionReason.MANUAL, source="alice") for name in reversed(names)])
        seen: list[str] = []
        cursor = ""
        while True:
            page = await one.page(cursor=cursor, limit=10)
            seen += [row.address for row in page.rows]
            cursor = page.cursor
            if not cursor:
                break
        assert seen == names
        assert (await one.page(reason=SuppressionReason.COMPLAINT)).rows == ()
        assert len((await one.page(address="USER003@Example.com")).rows) == 1


async def test_what_is_taken_off_is_off(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        one.fail("a@b.example")
        await one.stored()
        assert await one.book.count(["a@b.example"]) == 1
        assert await one.book.remove(["a@b.example", "never@b.example"]) == 1
        assert one.book.find(b"a@b.example") is None
    async with desk(tmp_path, old=one):
        assert len(one.book) == 0


@pytest.mark.parametrize("text", ["a@b.example", "A@B.EXAMPLE.", " a@b.example "])
def test_addresses_are_normal_however_they_are_written(text: str) -> None:
    assert normal_address(text) == "a@b.example"
