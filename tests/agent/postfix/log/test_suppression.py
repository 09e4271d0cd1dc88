"""The suppression list from what Postfix's log tells: as from outcomes of our own engine, and once."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from mailagent.api.suppression import Suppression, SuppressionQuery, SuppressionReason
from mailagent.config.suppression import Incident, SoftBounces, SuppressionList
from mailagent.outcome.suppression import SuppressionBook
from tests.agent.postfix.log.test_keeper import GREY, Rig, arrived, gone, no_waiting, tried

__all__ = ["no_waiting"]

UNKNOWN = "host mx[192.0.2.9] said: 550 5.1.1 User unknown (in reply to RCPT TO command)"
FULL = "host mx[192.0.2.9] said: 552 5.2.2 Mailbox full (in reply to RCPT TO command)"


class Listing(Rig):
    """A keeper that tells a book."""

    incidents: list[tuple[str, int]]
    book: SuppressionBook

    @asynccontextmanager
    async def listing(self, config: SuppressionList | None = None) -> AsyncIterator["Listing"]:
        """From start to stop."""
        self.incidents = []
        async with self.running():
            changes = self.keeper.changes
            self.book = changes.suppression = SuppressionBook(
                config or SuppressionList(),
                self.spool,
                outcomes=lambda provider: changes.outcomes[provider],
                frozen=lambda provider: False,
                incident=lambda provider, held: self.incidents.append((provider, held)),
            )
            await self.book.load()
            yield self

    async def entries(self) -> list[Suppression]:
        await self.book.add([])  # after what was stored before
        return list((await self.book.page(SuppressionQuery())).rows)


def ids() -> Iterator[str]:
    """Queue ids, each another message."""
    return (f"4jXnwf{n:04}zJMHh" for n in range(1000, 9999))


async def test_a_hard_bounce_suppresses_its_recipient_also_when_the_log_tells_late(tmp_path: Path) -> None:
    rig = Listing(tmp_path)
    rig.now += 86_400
    async with rig.listing():
        await rig.log(arrived(), tried("bounced", UNKNOWN, to="Gone@A.example"), gone())
        await rig.log(arrived(), tried("deferred", GREY, to="grey@a.example"))
        await rig.log(arrived(), tried("sent", "250 2.0.0 Ok", to="good@a.example"), gone())
        (entry,) = await rig.entries()
        assert (entry.address, entry.reason, entry.provider) == (
            "gone@a.example", SuppressionReason.HARD_BOUNCE, "gmail",
        )  # fmt: skip
        assert entry.evidence.startswith("550 5.1.1 User unknown")
        assert rig.counters.outcomes("gmail") == 0, "late outcomes are none of the rates of now"
        assert rig.keeper.changes.outcomes == {"gmail": 3}
    async with rig.listing():
        assert rig.book.find(b"gone@a.example") is SuppressionReason.HARD_BOUNCE
        assert await rig.entries() == [entry], "a restart tells nothing twice"


async def test_what_soft_bounce_keeps_in_the_queue_suppresses_nobody(tmp_path: Path) -> None:
    rig = Listing(tmp_path)
    async with rig.listing():
        await rig.log(arrived(), tried("SOFTBOUNCE", UNKNOWN, to="gone@a.example"))
        assert await rig.entries() == []
        assert rig.keeper.changes.outcomes == {"gmail": 1}


async def test_full_mailboxes_suppress_by_messages_and_a_delivery_forgives(tmp_path: Path) -> None:
    rig, queue_id = Listing(tmp_path), ids()
    async with rig.listing(SuppressionList(soft=SoftBounces(over=timedelta()))):
        for address, deliver in (("full@a.example", False), ("again@a.example", True)):
            for n in range(3):
                one = next(queue_id)
                again = [tried("bounced", FULL, id=one, to=address)] * 2  # the same message counts once
                await rig.log(arrived(one), *again, gone(one))
                if deliver and n == 1:
                    one = next(queue_id)
                    await rig.log(arrived(one), tried("sent", "250 2.0.0 Ok", id=one, to=address), gone(one))
        assert [(entry.address, entry.reason) for entry in await rig.entries()] == [
            ("full@a.example", SuppressionReason.SOFT_BOUNCES)
        ]


async def test_a_provider_that_calls_all_unknown_is_an_incident_and_its_entries_wait(tmp_path: Path) -> None:
    rig, queue_id = Listing(tmp_path), ids()
    async with rig.listing(SuppressionList(incident=Incident(least=5))):
        await rig.log(*(tried("sent", "250 2.0.0 Ok", id=next(queue_id), to=f"g{n}@a.example") for n in range(10)))
        await rig.log(
            *(
                tried("bounced", UNKNOWN, id=next(queue_id), to=f"u{n}@a.example", second=second)
                for second in range(20, 30)
                for n in (second, second + 100)
            )
        )
        assert all(entry.pending for entry in await rig.entries())
        assert [provider for provider, _ in rig.incidents] == ["gmail"]
        assert rig.book.find(b"u20@a.example") is None


@pytest.mark.parametrize("bounces", [True, False])
async def test_bounces_suppress_only_where_the_file_says_so(tmp_path: Path, bounces: bool) -> None:
    rig = Listing(tmp_path)
    async with rig.listing(SuppressionList(bounces=bounces)):
        await rig.log(arrived(), tried("bounced", UNKNOWN), gone())
        assert bool(await rig.entries()) is bounces
