"""The door: addresses of ours, limits, and a 250 that means on disk."""

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mailagent.api.ids import PoolName, StreamName
from mailagent.api.smtp import SmtpReply
from mailagent.config.feedback import Bounces, Feedback
from mailagent.config.structs import Shared, Stream
from mailagent.intake.submission import Submission
from mailagent.outcome.return_path import ReturnPaths
from mailagent.returns.addresses import AddressBook, Ours, Purpose, Refusal
from mailagent.returns.desk import Desk
from mailagent.returns.mailbox import Mailbox
from mailagent.spool.ids import MessageIds, recipient_id

PATHS = ReturnPaths([(0, b"k" * 32)], "ABC123")
SHARED = Shared(
    streams={StreamName("news"): Stream(pool=PoolName("p"), bounces=Bounces(domain="Bounce.example"))},
    feedback=Feedback(domains=("fbl.example",), rate_per_minute=3, backlog=1),
)
MESSAGE = MessageIds(0).new()
NOW = (MESSAGE + 1_577_836_800_000_000) / 1e6


def path(address: bytes = b"user@a.example") -> str:
    return PATHS.bounce(recipient_id(MESSAGE, 0), address).decode() + "@bounce.example"


def book(age: float = 0.0, config: Shared = SHARED) -> AddressBook:
    return AddressBook(config, PATHS, lambda: NOW + age)


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("postmaster", Purpose.PEOPLE),
        ("POSTMASTER@bounce.example", Purpose.PEOPLE),
        ("abuse+x@fbl.example.", Purpose.PEOPLE),
        ("fbl@fbl.example", Purpose.COMPLAINT),
        ("dmarc@bounce.example", Purpose.DMARC),
        ("TLSRPT@fbl.example", Purpose.TLS),
        (PATHS.unsubscribe("a@b.example") + "@fbl.example", Purpose.UNSUBSCRIBE),
        pytest.param(path(), Purpose.BOUNCE, id="a return path"),
        ("abuse@other.example", Refusal.UNKNOWN),
        ("user@bounce.example", Refusal.UNKNOWN),
        ("abuse", Refusal.UNKNOWN),
        ("", Refusal.UNKNOWN),
        ("@", Refusal.UNKNOWN),
        ("b+@bounce.example", Refusal.FORGED),
        ("u+abc@bounce.example", Refusal.FORGED),
    ],
)
def test_addresses(address: str, found: Purpose | Refusal) -> None:
    ours = book().look_up(address)
    assert (ours.purpose if isinstance(ours, Ours) else ours) is found


def test_answers_to_our_dsns_are_for_people() -> None:
    """They come back to a host name that no stream has as its bounce domain."""
    ours = AddressBook(SHARED, PATHS, lambda: NOW, dsn_from="Postmaster@mx1.example")
    assert ours.look_up("postmaster@MX1.example") == Ours(Purpose.PEOPLE)
    assert ours.look_up("abuse@mx1.example") is Refusal.UNKNOWN
    assert book().look_up("postmaster@mx1.example") is Refusal.UNKNOWN


def test_mail_for_people_is_not_passed_on_to_where_it_came_in() -> None:
    config = Shared(feedback=Feedback(domains=("fbl.example",), postmaster="postmaster@mx1.example"))
    ours = AddressBook(config, PATHS, lambda: NOW, dsn_from="postmaster@mx1.example")
    assert ours.look_up("postmaster@mx1.example") is Refusal.UNKNOWN


def test_a_return_path_expires() -> None:
    age = timedelta(days=60).total_seconds()
    assert isinstance(book(age - 60).look_up(path()), Ours)
    assert book(age + 60).look_up(path()) is Refusal.EXPIRED


class Counter:
    """A desk over a folder, with a clock of its own."""

    def __init__(self, directory: Path, *, closed: SmtpReply | None = None) -> None:
        self.now = 0.0
        self.mailbox = Mailbox(directory)
        self.mailbox.open()
        self.stored: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.desk = Desk(
            SHARED.feedback,
            book(),
            self.mailbox,
            closed=lambda: closed,
            short=lambda: None,
            new_id=lambda: f"{len(self.tasks):017}",
            spawn=self.spawn,
            stored=self.stored.append,
            clock=lambda: self.now,
        )

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(work, name=name))

    def ask(self, client: str, address: str = "fbl@fbl.example") -> int:
        reply = self.desk.stranger_refusal(client, address.encode())
        return 250 if reply is None else reply.code

    async def bring(self, address: str) -> SmtpReply:
        replies: list[SmtpReply] = []
        self.desk.submit(submission(address), replies.append)
        await asyncio.gather(*self.tasks)
        return replies[-1]


def submission(address: str) -> Submission:
    return Submission(
        sender=b"",
        recipients=(address.encode(),),
        body=b"Subject: hi\r\n\r\n",
        plain=True,
        eightbit=False,
        headers={},
        job="",
        virtual_mta="",
        client="192.0.2.1",
        helo="x",
        hops=0,
    )


def test_a_network_that_asks_too_often_waits_also_for_what_is_refused(tmp_path: Path) -> None:
    counter = Counter(tmp_path)
    assert [counter.ask("192.0.2.1"), counter.ask("192.0.2.99", "x@y.example"), counter.ask("192.0.2.1")] == [
        250,
        550,
        250,
    ]
    assert counter.ask("192.0.2.5") == 450
    assert counter.ask("192.0.3.5") == 250
    assert [counter.ask("2001:db8::1"), counter.ask("2001:db8::2"), counter.ask("2001:db8::3")] == [250] * 3
    assert counter.ask("2001:db8::4") == 450
    counter.now = 60.0
    assert counter.ask("192.0.2.5") == 250
    assert counter.desk.refused == {"unknown": 1, "rate": 2}


async def test_the_250_comes_when_the_mail_is_on_disk(tmp_path: Path) -> None:
    counter = Counter(tmp_path)
    reply = await counter.bring("fbl@fbl.example")
    assert reply.code == 250
    (mail,) = counter.stored
    envelope, message = Mailbox(tmp_path).load(mail)
    assert (envelope.client, envelope.recipients, message) == (
        "192.0.2.1",
        ("fbl@fbl.example",),
        b"Subject: hi\r\n\r\n",
    )
    assert Mailbox(tmp_path).open() == [mail]


async def test_no_250_without_the_disk(tmp_path: Path) -> None:
    counter = Counter(tmp_path)
    (tmp_path / "new").rmdir()
    assert (await counter.bring("fbl@fbl.example")).code == 452
    assert counter.stored == []
    assert counter.desk.pending == 0


async def test_too_much_unread_mail_is_refused_for_now(tmp_path: Path) -> None:
    counter = Counter(tmp_path)
    assert counter.desk.mail_refusal() is None
    await counter.bring("fbl@fbl.example")
    refusal = counter.desk.mail_refusal()
    assert refusal is not None
    assert refusal.code == 452


def test_a_host_that_stops_greets_nobody(tmp_path: Path) -> None:
    closed = SmtpReply(code=421, text="bye")
    assert Counter(tmp_path, closed=closed).desk.greeting_refusal() is closed
