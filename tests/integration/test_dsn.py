"""What senders ask for with NOTIFY, RET, ENVID and ORCPT (RFC 3461), through a real agent."""

from pathlib import Path

from mailagent.outcome.feedback.reader import read_report
from mailagent.outcome.feedback.reports import Action, BounceReport, RecipientStatus
from tests.integration.client import Session
from tests.integration.processes import until
from tests.integration.rig import POOLS, SOON, Rig, rig
from tests.integration.sink import Mail

SENDER = "author@sender.example"
UNKNOWN = b"550 5.1.1 no such user\r\n"
BUSY = b"451 4.3.0 temporary problem\r\n"


async def send(one: Rig, *recipients: str, mail: str = "", sender: str = SENDER) -> str:
    """Hand in one message; `recipients` and `mail` with their parameters."""
    session, _ = await Session.open(one.port)
    try:
        for line in (
            "EHLO client.example",
            f"MAIL FROM:<{sender}>{mail}",
            *(
                "RCPT TO:<{}>{}".format(*recipient.partition(" ")[::2]).replace(">", "> ", 1)
                for recipient in recipients
            ),
            "DATA",
        ):
            reply = await session.say(line.rstrip())
            assert reply[0] in "23", (line, reply)
        return await session.say("Subject: hello\r\n\r\nsecret text\r\n.")
    finally:
        await session.close()


def reports(one: Rig) -> list[tuple[Mail, BounceReport, RecipientStatus]]:
    """Notifications that reached the sender, in order."""
    found = []
    for mail in one.sink.mails:
        if mail.taken and mail.recipients == [SENDER]:
            assert mail.sender == ""
            report = read_report(mail.data)
            assert isinstance(report, BounceReport)
            (status,) = report.recipients
            found.append((mail, report, status))
    return found


async def test_each_recipient_gets_what_its_notify_asks_for(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        one.sink.refuse = lambda _, recipient: UNKNOWN if recipient.startswith("gone") else None
        reply = await send(
            one,
            "gone1@a.example NOTIFY=NEVER",
            "gone2@a.example NOTIFY=SUCCESS",
            "gone3@a.example NOTIFY=FAILURE,DELAY ORCPT=rfc822;Old+2BName@a.example",
            "fine1@a.example NOTIFY=FAILURE",
            "fine2@a.example NOTIFY=SUCCESS,FAILURE",
            mail=" RET=FULL ENVID=QQ+2B7",
        )
        assert reply.startswith("250")
        await one.delivered("fine1@a.example", "fine2@a.example")
        await one.holds(lambda: len(reports(one)) >= 2, "two notifications")
        assert not await one.waiting()
        found = {status.action: (mail, report, status) for mail, report, status in reports(one)}
        assert len(reports(one)) == 2
        mail, report, status = found[Action.FAILED]
        assert (status.address, status.original, report.envelope_id) == (
            "gone3@a.example",
            "Old+Name@a.example",
            "QQ+7",
        )
        assert b"secret text" in mail.data
        mail, report, status = found[Action.RELAYED]  # the receiver does not offer DSN
        assert (status.address, status.status) == ("fine2@a.example", "2.0.0")
        assert b"secret text" not in mail.data


async def test_a_delay_is_reported_once_and_not_for_bulk(tmp_path: Path) -> None:
    text = POOLS.replace("marketing: {pool: marketing}", "marketing: {pool: marketing, priority: bulk}") + SOON
    async with rig(tmp_path, text + "dsn: {delay: 1s}\n") as one:
        one.sink.refuse = lambda _, recipient: BUSY if recipient.startswith("slow") else None
        await send(one, "slow1@a.example", "slow2@a.example NOTIFY=DELAY")
        await send(one, "slow3@a.example", sender="a@tx.example")
        to_tx = [mail.recipients for mail in one.sink.mails]

        def told(sender: str) -> list[str]:
            mails = [mail for mail in one.sink.mails if mail.taken and mail.recipients == [sender]]
            found = [read_report(mail.data) for mail in mails]
            return [f"{r.recipients[0].action} {r.recipients[0].address}" for r in found if isinstance(r, BounceReport)]

        await one.holds(
            lambda: told(SENDER) == ["delayed slow2@a.example"] and told("a@tx.example") == ["delayed slow3@a.example"],
            f"two delays {to_tx}",
        )
        tries = len(one.sink.attempts("slow2@a.example"))
        await one.holds(lambda: len(one.sink.attempts("slow2@a.example")) >= tries + 2, "two more attempts")
        one.sink.refuse = lambda *_: None
        await one.delivered("slow1@a.example", "slow2@a.example", "slow3@a.example")
        assert told(SENDER) == ["delayed slow2@a.example"]
        assert told("a@tx.example") == ["delayed slow3@a.example"]


async def test_the_null_sender_hears_nothing(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        one.sink.refuse = lambda _, recipient: UNKNOWN if recipient.startswith("gone") else None
        await send(one, "gone@a.example NOTIFY=FAILURE", "fine@a.example NOTIFY=SUCCESS", sender="")
        await one.delivered("fine@a.example")

        async def settled() -> bool:
            return not await one.waiting()

        await until(settled, "nothing waits")
        assert {recipient for mail in one.sink.mails for recipient in mail.recipients} == {"fine@a.example"}
