"""What operators see of waiting mail."""

from pathlib import Path

import apsw
import pytest

from mailagent.api.errors import InvalidRequest
from mailagent.api.methods import MAX_PAGE_BYTES, MAX_TEXT_CHARS
from mailagent.api.targets import MessageFilter
from mailagent.api.terms import Field, Term
from mailagent.spool import Spool, inspection, spool_check, spool_list
from mailagent.spool.ids import group_key, message_name, reply_group
from mailagent.spool.records import DeferredTotal, NewMessage
from mailagent.spool.schema import FILE_NAME
from tests.agent.spool.mail import NOW, accept, deferred, message, queue_name, settle, spool_in


@pytest.fixture(autouse=True, params=[7, 1000], ids=["many rows", "few rows"])
def slices(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "SLICE_ROWS", request.param)


async def fill(spool: Spool) -> list[NewMessage]:
    """40 recipients of gmail, 20 of yahoo; every other one deferred."""
    mails = [message(spool, f"user{n}@gmail.example", pool="marketing", at=NOW + n) for n in range(40)]
    mails += [
        message(spool, f"user{n}@yahoo.example", pool="cold", stream="cold", sender="cold@s.example") for n in range(20)
    ]
    await accept(spool, *mails)
    outcomes = [
        deferred(
            new,
            due=NOW + 60_000 + n,
            provider="gmail" if n < 40 else "yahoo",
            vmta=f"mkt-{n % 4}",
            text=f"rate limited <user{n}@x.example>" if n % 8 else "mailbox full",
        )
        for n, new in enumerate(mails)
        if n % 2 == 0
    ]
    await settle(spool, *outcomes)
    spool.placed(mails[0].recipients[0].queue, "gmail-mx", "gmail")
    await spool.parked_keys()  # waits for it: listings may be a commit behind
    return mails


@pytest.mark.parametrize(
    ("narrow", "count"),
    [
        (MessageFilter(), 60),
        (MessageFilter(pool="cold"), 20),
        (MessageFilter(stream="news"), 40),
        (MessageFilter(domain="GMAIL.example"), 40),
        (MessageFilter(provider="gmail"), 40),
        (MessageFilter(site="gmail-mx"), 20),
        (MessageFilter(site="gmail-site"), 20),
        (MessageFilter(vmta="mkt-2", pool="marketing"), 10),
        (MessageFilter(recipient="USER3@gmail.example"), 1),
        (MessageFilter(sender="cold@s.example", deferred_only=True), 10),
        (MessageFilter(deferred_only=True), 30),
        (MessageFilter(group="zz"), 0),
        (MessageFilter(message_id="x"), 0),
    ],
)
async def test_filters_narrow_counts_and_pages_alike(spool: Spool, narrow: MessageFilter, count: int) -> None:
    await fill(spool)
    assert await spool.count(narrow) == count
    names: list[tuple[str, int]] = []
    cursor = ""
    while True:
        page = await spool.messages(narrow, cursor, 9)
        assert len(page.rows) <= 9
        names += [(row.message_id, row.n) for row in page.rows]
        cursor = page.cursor
        if not cursor:
            break
    assert len(names) == count
    assert names == sorted(set(names))


def where(**terms: str) -> MessageFilter:
    """A filter of terms by field; a name that ends in `_not` is negated, blanks separate alternatives."""
    return MessageFilter(
        terms=tuple(
            Term(field=Field(name.removesuffix("_not")), value=value, negated=name.endswith("_not"))
            for name, values in terms.items()
            for value in values.split()
        )
    )


@pytest.mark.parametrize(
    ("narrow", "count"),
    [
        (where(pool="cold marketing"), 60),
        (where(pool="c*"), 20),
        (where(pool_not="cold"), 40),
        (where(vmta="mkt-0 mkt-2", provider="yahoo"), 10),
        (where(vmta_not="mkt-0"), 45),
        (where(recipient="*@yahoo.example"), 20),
        (where(recipient="USER1*@yahoo.example *@gmail.example"), 51),
        (where(recipient="user3@gmail.example user4@gmail.example"), 2),
        (where(recipient_not="user1*"), 38),
        (where(sender="cold@*"), 20),
        (where(domain="yahoo.example gmail.example", state="deferred"), 30),
        (where(state="untried"), 30),
        (where(state="deferred untried"), 60),
        (where(state_not="deferred"), 30),
        (where(state="sleeping"), 0),
        (where(code="421"), 30),
        (where(code="4*"), 30),
        (where(code="4.7.*"), 30),
        (where(code="4.7.28 5*"), 30),
        (where(code="4.2.*"), 0),
        (where(code_not="421"), 30),
        (where(text="FULL"), 8),
        (where(text="full yahoo"), 3),
        (where(text_not="full", state="deferred"), 22),
        (where(text="cold@s"), 20),
        (where(text="%"), 0),
        (where(age=">3600"), 0),
        (where(age="<3600"), 60),
        (where(age_not=">3600"), 60),
        (where(group="zz"), 0),
        (where(message="x"), 0),
        (where(site="gmail-*"), 40),
    ],
)
async def test_terms_narrow_counts_pages_and_groups_alike(spool: Spool, narrow: MessageFilter, count: int) -> None:
    await fill(spool)
    assert await spool.count(narrow) == count
    assert len((await spool.messages(narrow, "", 500)).rows) == count
    both = MessageFilter(terms=(*narrow.terms, Term(field=Field.STATE, value="deferred")))
    groups = await spool.groups(narrow, 500)
    if Field.STATE not in {term.field for term in narrow.terms}:
        assert sum(group.count for group in groups.groups) == await spool.count(both)


@pytest.mark.parametrize("domain", ["bücher.example", "xn--bcher-kva.example", "BÜCHER.Example"])
async def test_a_domain_is_found_in_its_letters_and_as_a_labels(spool: Spool, domain: str) -> None:
    await fill(spool)
    queue = queue_name("xn--bcher-kva.example")
    mails = [
        message(spool, f"anna@{written}", sender=f"me@{written}", queue=queue)
        for written in ("bücher.example", "xn--bcher-kva.example", "BÜCHER.example")
    ]
    await accept(spool, *mails)
    for narrow in (
        MessageFilter(domain=domain),
        MessageFilter(recipient=f"anna@{domain}"),
        MessageFilter(sender=f"me@{domain}"),
        where(domain=f"{domain} none.example"),
        where(recipient=f"an*@{domain}"),
        where(sender=f"*@{domain}"),
        where(address=f"me@{domain}"),
        where(address=f"anna@{domain}"),
    ):
        assert await spool.count(narrow) == 3, narrow
        assert len((await spool.messages(narrow, "", 10)).rows) == 3, narrow
    assert not await spool.count(MessageFilter(recipient=f"hanna@{domain}"))


async def test_a_recipient_of_a_message_is_found_by_its_index(spool: Spool) -> None:
    mails = await fill(spool)
    name = message_name(mails[3].id, spool.tag)
    assert await spool.count(where(message=f"{name}.0")) == 1
    assert await spool.count(where(message=f"{name}.1")) == 0
    assert await spool.count(where(message=name.lower())) == 1
    for n in (1 << 12, 1 << 62, 10**20):  # of another message, or of none
        assert await spool.message(name, n) is None
        assert await spool.count(where(message=f"{name}.{n}")) == 0
    assert await spool.count(where(message=f"{name}.x")) == 0
    assert await spool.message(name, 0) is not None


@pytest.mark.parametrize("narrow", [where(age="2h"), where(code="4.7.x"), where(text="x" * 513), where(text="x " * 65)])
async def test_terms_that_mean_nothing_are_refused(spool: Spool, narrow: MessageFilter) -> None:
    with pytest.raises(InvalidRequest):
        await spool.count(narrow)


async def test_a_message_of_another_spool_is_not_here(spool: Spool) -> None:
    new = message(spool, "a@x.example", "b@y.example")
    await accept(spool, new, message(spool))
    name = message_name(new.id, spool.tag)
    assert await spool.count(MessageFilter(message_id=name)) == 2
    other = message_name(new.id, "000000" if spool.tag != "000000" else "000001")
    assert await spool.count(MessageFilter(message_id=other)) == 0
    assert await spool.message(other, None) is None
    assert await spool.message(name, 2) is None
    assert await spool.message("nonsense", None) is None


async def test_groups_join_replies_that_mean_the_same(spool: Spool) -> None:
    await fill(spool)
    found = await spool.groups(MessageFilter(), 10)
    shown = [(group.provider, group.text, group.count) for group in found.groups]
    assert shown == [
        ("gmail", "rate limited <address>", 15),
        ("yahoo", "rate limited <address>", 7),
        ("gmail", "mailbox full", 5),
        ("yahoo", "mailbox full", 3),
    ]
    largest = found.groups[0]
    assert largest.sample.startswith("rate limited <user")
    assert largest.next_try_at is not None
    key, _ = reply_group("gmail", 421, "4.7.28", "rate limited <someone@else.example>")
    assert largest.key == group_key(key)
    assert await spool.count(MessageFilter(group=largest.key)) == 15
    assert (await spool.groups(MessageFilter(), 2)).truncated


@pytest.mark.parametrize(
    "narrow", [MessageFilter(provider="yahoo"), MessageFilter(pool="cold"), MessageFilter(domain="yahoo.example")]
)
async def test_groups_are_the_same_by_index_and_by_slices(spool: Spool, narrow: MessageFilter) -> None:
    await fill(spool)
    found = await spool.groups(narrow, 10)
    assert [(group.text, group.count) for group in found.groups] == [("rate limited <address>", 7), ("mailbox full", 3)]


async def test_totals_add_up(spool: Spool) -> None:
    mails = await fill(spool)
    assert sorted((total.pool, total.provider, total.count) for total in await spool.waiting_totals()) == [
        ("cold", "", 20),
        ("marketing", "gmail", 40),
    ]
    totals = await spool.deferred_totals()
    assert sum(total.count for total in totals) == 30
    assert DeferredTotal(provider="gmail", vmta="mkt-0", count=10, oldest_at=totals[0].oldest_at) in totals
    assert await spool.oldest() == mails[0].received_at


async def test_a_page_ends_before_it_is_too_large(spool: Spool) -> None:
    text = "x" * 5000
    mails = [message(spool, f"user{n}@example.com") for n in range(400)]
    await accept(spool, *mails)
    await settle(spool, *(deferred(new, due=NOW, text=text) for new in mails))
    page = await spool.messages(MessageFilter(), "", 500)
    assert 0 < len(page.rows) < MAX_PAGE_BYTES // MAX_TEXT_CHARS
    assert page.cursor
    assert page.rows[0].reply is not None
    assert page.rows[0].reply.text.endswith("[truncated]")
    rest = await spool.messages(MessageFilter(), page.cursor, 500)
    assert rest.rows[0].message_id == message_name(mails[len(page.rows)].id, spool.tag)


async def test_hostile_bytes_are_shown_escaped(spool: Spool) -> None:
    new = message(spool, body=b"Subject: \xff\x1b[31m\r\nX: y\r\n\r\nbody")
    await accept(spool, new)
    stored = await spool.message(message_name(new.id, spool.tag), None)
    assert stored is not None
    assert stored.headers == "Received: from client by mx1\r\nSubject: \\xff\x1b[31m\r\nX: y\r\n"
    assert not stored.headers_truncated


@pytest.mark.parametrize(
    ("body", "shown"),
    [(b"\r\nno header", ""), (b"", ""), (b"A: b\r\n", "A: b\r\n"), (b"A: b\r\n\r\ntext", "A: b\r\n")],
)
async def test_headers_end_at_the_first_empty_line(spool: Spool, body: bytes, shown: str) -> None:
    new = message(spool, body=body)
    await accept(spool, new)
    stored = await spool.message(message_name(new.id, spool.tag), None)
    assert stored is not None
    assert stored.headers == "Received: from client by mx1\r\n" + shown


async def test_a_long_header_block_is_cut_and_says_so(spool: Spool) -> None:
    new = message(spool, body=b"X: " + b"y" * 100_000 + b"\r\n\r\n")
    await accept(spool, new)
    stored = await spool.message(message_name(new.id, spool.tag), None)
    assert stored is not None
    assert len(stored.headers) == inspection.HEADER_BYTES
    assert stored.headers_truncated


async def test_the_spool_is_listed_and_checked_beside_a_running_agent_and_without(tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool:
        await fill(spool)
        await spool.parked_keys()
        beside = spool_list(tmp_path, 1000)
        assert len(beside) == 60
        assert spool_check(tmp_path) == []
    assert spool_list(tmp_path, 1000) == beside
    assert len(spool_list(tmp_path, 5)) == 5
    assert len(spool_list(tmp_path, 100, MessageFilter(pool="cold"))) == 20


async def test_a_damaged_spool_is_described(tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool:
        new = message(spool)
        await accept(spool, new)
        name = message_name(new.id, spool.tag)
    db = apsw.Connection(str(tmp_path / FILE_NAME))
    db.execute("DELETE FROM body; UPDATE queue SET waiting = 5")
    db.close()
    assert spool_check(tmp_path) == [
        f"1 messages without their body: {name}",
        "queue marketing/news/example.com counts 5 waiting recipients and has 1",
    ]
