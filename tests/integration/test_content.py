"""Messages of all sizes arrive as they came, to all their recipients, from memory or from disk."""

import signal
from pathlib import Path

from tests.integration.client import BODY, Session
from tests.integration.rig import LATE, POOLS, rig
from tests.integration.sink import Mail

DOTS = "Subject: dots\r\n\r\n..\r\n...leading\r\nin . side\r\n..\r\n"
LARGE = "Subject: large\r\n\r\n" + "..a line that begins with a dot, and is stuffed\r\n" * 160_000


async def test_a_body_stays_as_it_came_but_for_received_and_control_headers(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        await one.accepted("r@a.example", headers="X-Virtual-MTA: tx\r\nX-Job: j\r\nX-Kept: yes\r\n")
        await one.delivered("r@a.example")
        (mail,) = one.sink.mails
        received, _, rest = mail.data.partition(b"X-Kept")
        assert rest == b": yes\r\n" + BODY + b".\r\n"
        assert received.startswith(b"Received: from client.example ([127.0.0.1])")
        assert mail.helo == "mx1"


async def test_leading_dots_and_eight_megabytes_arrive_unchanged_from_memory_and_from_disk(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        await one.accepted("dots@a.example", body=DOTS)
        await one.accepted("large@a.example", body=LARGE)
        await one.delivered("dots@a.example", "large@a.example")
        await one.do("drain", "pool:marketing")
        await one.accepted("dots@b.example", body=DOTS)
        await one.accepted("large@b.example", body=LARGE)
        await one.restart(signal.SIGKILL)
        await one.do("undrain", "pool:marketing", op_id="after-kill")
        await one.delivered("dots@b.example", "large@b.example")
        for mail in one.sink.mails:
            (recipient,) = mail.recipients
            sent = DOTS if recipient.startswith("dots") else LARGE
            assert mail.data[mail.data.index(b"Subject") :] == sent.encode() + b".\r\n", recipient


async def test_many_recipients_share_transactions_and_each_gets_one_copy(tmp_path: Path) -> None:
    recipients = [f"r{n}@a.example" for n in range(250)] + [f"r{n}@b.example" for n in range(30)]
    async with rig(tmp_path) as one:
        assert (await one.send(*recipients)).startswith("250")
        await one.delivered(*recipients)
        assert set(one.sink.received.values()) == {1}
        assert sorted(len(mail.recipients) for mail in one.sink.mails) == [30, 50, 100, 100]


async def test_postmaster_needs_no_domain_and_who_is_named_twice_gets_one_copy(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE + "feedback: {postmaster: ops@corp.example}\n") as one:
        assert (await one.send("r@a.example", "Postmaster", "r@A.example", "ops@corp.example")).startswith("250")
        await one.delivered("r@a.example", "ops@corp.example")
        assert one.sink.received == {"r@a.example": 1, "ops@corp.example": 1}
        assert not await one.waiting()


async def test_recipients_beyond_what_the_peer_takes_at_once_follow_later(tmp_path: Path) -> None:
    def ten_at_once(mail: Mail, recipient: str) -> bytes | None:
        return b"452 4.5.3 too many recipients\r\n" if len(mail.recipients) >= 10 else None

    recipients = [f"r{n}@a.example" for n in range(25)]
    async with rig(tmp_path) as one:
        one.sink.refuse = ten_at_once
        assert (await one.send(*recipients)).startswith("250")
        await one.delivered(*recipients)
        assert set(one.sink.received.values()) == {1}
        assert {mail.source for mail in one.sink.mails} == {one.sink.mails[0].source}


async def test_international_mail_bounces_here_where_the_peer_cannot_have_it(tmp_path: Path) -> None:
    """RFC 6531 section 3.2: no conversion; the domain alone goes out as A-labels."""
    async with rig(tmp_path) as one:
        one.dns.add("xn--bcher-kva.example", "MX", "10 mx.a.example.")
        for recipient in ("jürgen@a.example", "anna@bücher.example"):
            session, _ = await Session.open(one.port)
            for line in ("EHLO c.example", "MAIL FROM:<a@sender.example> SMTPUTF8", f"RCPT TO:<{recipient}>", "DATA"):
                reply = await session.say(line)
                assert reply[0] in "23", reply
            assert (await session.say("Subject: x\r\n\r\nx\r\n.")).startswith("250 ")
            await session.close()
        await one.delivered("anna@xn--bcher-kva.example", "a@sender.example")
        report = next(mail.data for mail in one.sink.mails if "a@sender.example" in mail.recipients)
        assert b"5.6.7" in report
        assert not any("jürgen" in mail.recipients for mail in one.sink.mails)
