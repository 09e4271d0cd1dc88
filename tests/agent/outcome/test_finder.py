"""The search of operators: pages that together are what reading everything finds, beside the writing of more."""

import asyncio
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api import codec
from mailagent.api.accounting import EventType
from mailagent.api.errors import InvalidRequest
from mailagent.api.find import FindPage, FindRequest
from mailagent.api.methods import MAX_PAGE_BYTES
from mailagent.api.targets import MessageFilter
from mailagent.api.terms import Field, Term
from mailagent.config.accounting import Accounting, AccountingCsv
from mailagent.outcome.accounting import AccountingLog, AccountingRecord, Finder, event_id, finder, line
from mailagent.outcome.accounting.search import Readable
from mailagent.outcome.accounting.sought import Sought

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
RECIPIENTS = (
    "bob@two.test",
    "Bob@Two.test",
    "eve@two.test.example",
    '"a,\\"b"@two.test',
    "josé@zwei.test",
    "",
    "bob@bücher.test",
    "bob@xn--bcher-kva.test",
)


def record(number: int, recipient: str = "bob@two.test", **fields: object) -> AccountingRecord:
    kind = EventType(str(fields.pop("type", EventType.DEFERRED)))
    values: dict[str, object] = {
        "event": event_id(f"0MSG{number}", 0, 1, kind),
        "type": kind,
        "time": NOW + timedelta(seconds=number),
        "host": "mx1",
        "message_id": f"0MSG{number}",
        "n": 0,
        "sender": "news@one.test",
        "recipient": recipient,
        "stream": "news",
        "pool": "marketing",
        "size_bytes": 1,
        "code": 421,
        "enhanced": "4.7.28",
        "text": "unusual rate\nof mail 5%_\\",
        "category": "rate-limit",
        "vmta": "mkt-1",
        "provider": "gmail",
    } | fields
    return AccountingRecord(**values)  # type: ignore[arg-type]


def where(*terms: tuple[Field, str] | tuple[Field, str, bool], **exact: str) -> MessageFilter:
    made = tuple(Term(field=one[0], value=one[1], negated=len(one) > 2) for one in terms)
    return MessageFilter(terms=made, **exact)  # type: ignore[arg-type]


def asked(filter: MessageFilter, cursor: str = "", limit: int = 500, *, since: datetime = NOW) -> FindRequest:
    return FindRequest(filter=filter, since=since, until=LATER, cursor=cursor, limit=limit)


def numbers(page: FindPage) -> list[int]:
    return [int(row.message_id.removeprefix("0MSG")) for row in page.rows]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[AccountingLog]:
    made = AccountingLog(tmp_path / "accounting", Accounting(), clock=NOW.timestamp)
    yield made
    made.close()


@pytest.mark.parametrize("domain", ["bücher.test", "xn--bcher-kva.test", "BÜCHER.test"])
async def test_a_domain_is_found_in_its_letters_and_as_a_labels(log: AccountingLog, domain: str) -> None:
    log.write([line(record(number, one)) for number, one in enumerate(RECIPIENTS)])
    for wanted in (
        where((Field.DOMAIN, domain)),
        where((Field.RECIPIENT, f"*@{domain}")),
        where((Field.ADDRESS, f"bob@{domain}")),
        where(recipient=f"bob@{domain}"),
        where(domain=domain),
    ):
        assert numbers(await Finder(log).find(asked(wanted))) == [7, 6], wanted


@given(
    recipients=st.lists(st.sampled_from(RECIPIENTS), max_size=60),
    rotate=st.integers(300, 6000),
    compress=st.booleans(),
    wanted=st.sampled_from(
        (
            where(recipient="bob@two.test"),
            where((Field.RECIPIENT, "*@two.test")),
            where((Field.RECIPIENT, "bob@two.test"), (Field.RECIPIENT, "eve@*")),
            where((Field.TEXT, "josé")),
            where((Field.TEXT, "421 4.7.28 unusual")),
            where((Field.TEXT, '"a,')),
            where((Field.TEXT, "two"), (Field.TEXT, "eve", True)),
            where((Field.ADDRESS, "news@*"), (Field.AGE, ">86380")),
            where(message_id="0msg7"),
            where((Field.DOMAIN, "zwei.test")),
            where((Field.DOMAIN, "bücher.test")),
            where((Field.ADDRESS, "bob@xn--bcher-kva.test")),
        )
    ),
    since=st.integers(0, 60).map(lambda s: NOW + timedelta(seconds=s)),
    limit=st.integers(1, 20),
)
def test_pages_together_are_what_reading_everything_finds(
    recipients: list[str], rotate: int, compress: bool, wanted: MessageFilter, since: datetime, limit: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        now = NOW.timestamp()
        log = AccountingLog(Path(name), Accounting(rotate_bytes=rotate, compress=compress), clock=lambda: now)
        records = [record(number, recipient) for number, recipient in enumerate(recipients)]
        for number, one in enumerate(records):
            now = NOW.timestamp() + number
            log.write([line(one)])
        log.maintain()
        sought = Sought(wanted, since, LATER)
        expected = [number for number, one in enumerate(records) if sought.matches(one)]
        for needle in sought.needles:
            assert all(needle in line(records[number]).lower() for number in expected)

        async def read() -> list[int]:
            found: list[int] = []
            cursor = ""
            while True:
                page = await Finder(log).find(asked(wanted, cursor, limit, since=since))
                assert len(page.rows) <= limit
                found += numbers(page)
                if not page.cursor:
                    return found
                cursor = page.cursor
                # what is written meanwhile, and a file that is finished, take no place from what was asked for
                log.write([line(record(1000, "nobody@else.test", sender="x@x.test", text="", code=0, enhanced=""))])

        assert asyncio.run(read()) == expected[::-1]
        log.close()


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (where(recipient="BOB@two.test"), [3, 2, 1]),
        (where((Field.STATE, "deferred"), (Field.STATE, "bounced"), recipient="bob@two.test"), [2, 1]),
        (where((Field.CODE, "4.7.*"), (Field.TEXT, "bob")), [1]),
        (where((Field.CODE, "5*"), (Field.TEXT, "bob")), [2]),
        (where((Field.CODE, "421", True), (Field.TEXT, "bob")), [3, 2]),
        (where((Field.CATEGORY, "bad-*"), (Field.TEXT, "bob")), [2]),
        (where(job="spring"), [3]),
        (where((Field.JOB, "spr*")), [3]),
        (where((Field.MESSAGE, "0msg3.0")), [3]),
        (where((Field.MESSAGE, "0msg3.1")), []),
        (where(sender="news@one.test", vmta="mkt-2"), [2]),
        (where((Field.TEXT, "5%_\\")), [3, 1]),
        (MessageFilter(recipient="bob@two.test", deferred_only=True), [1]),
    ],
)
async def test_terms_mean_the_same_as_for_waiting_mail(
    log: AccountingLog, wanted: MessageFilter, found: list[int]
) -> None:
    refused = record(2, type="bounced", code=550, enhanced="5.1.1", text="no", category="bad-mailbox", vmta="mkt-2")
    done = record(3, type="delivered", code=250, enhanced="2.0.0", job="spring")
    log.write([line(one) for one in (record(1), refused, done)])
    assert numbers(await Finder(log).find(asked(wanted))) == found


@pytest.mark.parametrize(
    "filter",
    [
        MessageFilter(),
        where(provider="gmail"),
        where((Field.TEXT, "x", True)),
        where((Field.AGE, ">x"), (Field.TEXT, "x")),
        where((Field.TEXT, "x"), group="00ff"),
    ],
)
async def test_a_search_for_nothing_in_particular_is_refused(log: AccountingLog, filter: MessageFilter) -> None:
    with pytest.raises(InvalidRequest):
        await Finder(log).find(asked(filter))


@pytest.mark.parametrize("cursor", ["x", "1", "-1:2", "1:x", ":1", "9" * 60 + ":"])
async def test_a_cursor_of_somebody_else_is_refused(log: AccountingLog, cursor: str) -> None:
    with pytest.raises(InvalidRequest, match="no cursor"):
        await Finder(log).find(asked(where(recipient="a@b.test"), cursor))


async def test_a_page_is_bounded_in_bytes(log: AccountingLog) -> None:
    log.write([line(record(number, text="\\" * 5000)) for number in range(400)])
    page = await Finder(log).find(asked(where(recipient="bob@two.test")))
    assert page.cursor
    assert len(codec.encode(page)) < MAX_PAGE_BYTES + 5000


async def test_a_page_that_has_taken_its_time_goes_on_where_it_stopped(
    log: AccountingLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finder, "PAGE_S", 0)
    log.write([line(record(1))])
    log.configure(Accounting(csv=AccountingCsv()))  # finishes the file
    log.write([line(record(2))])
    wanted = where(recipient="bob@two.test")
    first = await Finder(log).find(asked(wanted))
    assert (numbers(first), first.cursor) == ([2], "1:")
    second = await Finder(log).find(asked(wanted, first.cursor))
    assert (numbers(second), second.cursor) == ([1], "")


async def test_the_search_ends_when_its_caller_goes_away(log: AccountingLog, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, ended = threading.Event(), threading.Event()

    def endless(stream: Readable, _sought: Sought) -> Iterator[tuple[AccountingRecord, bytes]]:
        try:
            while len(stream.read(1)) < 2:
                reading.set()
            yield record(1), b""
        finally:
            ended.set()

    monkeypatch.setattr(finder, "matching", endless)
    log.write([line(record(1))])
    one = Finder(log)
    search = asyncio.create_task(one.find(asked(where(recipient="bob@two.test"))), name="search")
    assert await asyncio.to_thread(reading.wait, 10)
    waiting = asyncio.create_task(one.find(asked(where(recipient="bob@two.test"))), name="waits for its turn")
    search.cancel()
    assert await asyncio.to_thread(ended.wait, 10)
    waiting.cancel()
    ends = await asyncio.gather(search, waiting, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in ends)
