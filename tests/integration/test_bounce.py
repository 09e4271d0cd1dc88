"""Permanent failures go back to the sender through the same agent; each outcome has its accounting line."""

import email
import email.policy
from email.message import EmailMessage
from pathlib import Path
from typing import cast

from tests.integration.rig import LATE, POOLS, Rig, rig
from tests.integration.sink import Mail

UNKNOWN = b"550 5.1.1 no such user\r\n"
SENDER = "author@sender.example"


async def test_a_refused_recipient_is_reported_to_the_sender_and_the_others_get_the_mail(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        later = {"later@a.example"}

        def judge(mail: Mail, recipient: str) -> bytes | None:
            if recipient == "unknown@a.example":
                return UNKNOWN
            if recipient in later:
                later.discard(recipient)
                return b"450 4.2.2 mailbox full\r\n"
            return None

        one.sink.refuse = judge
        reply = await one.send(
            "fine@a.example", "unknown@a.example", "later@a.example", "there@b.example", sender=SENDER
        )
        assert reply.startswith("250 2.0.0 Ok: queued as ")
        queued_as = reply.rsplit(" ", 1)[1]
        await one.delivered("fine@a.example", "later@a.example", "there@b.example", SENDER)
        assert set(one.sink.received.values()) == {1}
        assert len({mail.data for mail in one.sink.mails if "fine@a.example" in mail.recipients}) == 1
        report = delivery_report(one, SENDER)
        assert report["Auto-Submitted"] == "auto-replied"
        assert report["From"].addresses[0].addr_spec == "postmaster@mx1"
        text, status, returned = report.iter_parts()
        assert "unknown@a.example" in text.get_content()
        about_message, about_recipient = cast(list[EmailMessage], status.get_payload())
        assert about_message["X-Queue-ID"] == queued_as
        assert about_recipient["Final-Recipient"] == "rfc822; unknown@a.example"
        assert (about_recipient["Action"], about_recipient["Status"]) == ("failed", "5.1.1")
        assert about_recipient["Remote-MTA"] == "dns; mx.a.example"
        assert "no such user" in about_recipient["Diagnostic-Code"]
        assert "Subject: hello" in returned.get_content()
        assert f"id {queued_as}" in returned.get_content()
        await one.stop()
        outcomes = {(line["recipient"], line["type"]): line for line in one.accounting()}
        assert outcomes.keys() == {
            ("fine@a.example", "delivered"),
            ("there@b.example", "delivered"),
            ("unknown@a.example", "bounced"),
            ("later@a.example", "deferred"),
            ("later@a.example", "delivered"),
            (SENDER, "delivered"),
        }
        bounced = outcomes["unknown@a.example", "bounced"]
        assert (bounced["code"], bounced["enhanced"], bounced["smtp_verb"]) == (550, "5.1.1", "RCPT")
        assert bounced["text"] == "no such user"
        assert bounced["message_id"] == queued_as
        assert outcomes["later@a.example", "delivered"]["attempt"] == 2
        for line in outcomes.values():
            assert line["source"].startswith("127.0.1.")
            assert line["remote"] == f"127.0.0.1:{one.sink.port}"
            assert (line["host"], line["pool"], line["stream"]) == ("mx1", "marketing", "marketing")
            assert line["mx"] == f"mx.{line['recipient'].partition('@')[2]}"
            assert line["size_bytes"] > 0


async def test_a_permanent_refusal_at_the_dot_bounces_every_recipient(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        one.sink.at_dot = lambda mail: b"554 5.7.1 spam\r\n" if mail.sender else None
        await one.send("r@a.example", "s@a.example", sender=SENDER)
        await one.holds(lambda: one.sink.received[SENDER] == 2, "a report for each")
        await one.shows(lambda now: now.host.waiting == 0, "nothing waits")
        assert set(one.sink.received) == {SENDER}


async def test_mail_without_a_sender_is_never_answered(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        one.sink.refuse = lambda mail, recipient: UNKNOWN
        await one.accepted("r@a.example", sender="")
        await one.accepted("s@a.example", sender=SENDER)  # its report is refused too
        await one.holds(lambda: len(one.sink.mails) == 3, "mail, mail and report")
        await one.shows(lambda now: now.host.waiting == 0, "nothing waits")
        await one.stop()
        assert sorted((line["recipient"], line["type"]) for line in one.accounting()) == [
            (SENDER, "bounced"),
            ("r@a.example", "bounced"),
            ("s@a.example", "bounced"),
        ]
        assert len(one.sink.mails) == 3


async def test_mail_whose_time_is_over_is_reported_with_its_last_reply(tmp_path: Path) -> None:
    quick = "retry: {waits: [1s], greylist: [1s], jitter: 0, expire: 2s}\n"
    async with rig(tmp_path, POOLS + quick) as one:
        one.sink.refuse = lambda mail, recipient: b"451 4.7.1 not today\r\n" if mail.sender else None
        await one.accepted("r@a.example", sender=SENDER)
        await one.delivered(SENDER)
        _, status, _ = delivery_report(one, SENDER).iter_parts()
        about = cast(list[EmailMessage], status.get_payload())[1]
        assert about["Action"] == "failed"
        assert about["Status"].startswith("4.")
        assert "not today" in about["Diagnostic-Code"]
        await one.stop()
        types = [line["type"] for line in one.accounting() if line["recipient"] == "r@a.example"]
        assert types[-1] == "expired"
        assert set(types[:-1]) == {"deferred"}


async def test_finished_accounting_files_appear_by_rename_while_the_agent_runs(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE + "accounting: {rotate_bytes: 1K}\n") as one:
        recipients = [f"r{n}@a.example" for n in range(12)]
        await one.accepted(*recipients)
        await one.delivered(*recipients)
        directory = tmp_path / "state" / "accounting"
        await one.holds(lambda: len(list(directory.glob("acct-*.jsonl"))) >= 2, "finished files")
        assert all(file.read_bytes().endswith(b"\n") for file in directory.glob("acct-*.jsonl"))
        await one.stop()
        assert sorted(line["recipient"] for line in one.accounting()) == sorted(recipients)
        assert len({line["event"] for line in one.accounting()}) == len(recipients)
        assert not (directory / "current.jsonl.part").exists()


def delivery_report(one: Rig, sender: str) -> EmailMessage:
    (mail,) = [mail for mail in one.sink.mails if mail.recipients == [sender]]
    assert mail.sender == ""
    report = email.message_from_bytes(mail.data.removesuffix(b".\r\n"), policy=email.policy.default)
    assert isinstance(report, EmailMessage)
    assert report.get_content_type() == "multipart/report"
    assert not report.defects
    return report
