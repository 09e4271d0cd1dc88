"""What the log tells, in the mirror, in accounting, in counters."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mailagent.api.ids import HostName, PoolName, ProviderName, StreamName, VmtaName
from mailagent.api.outcome import Attempt
from mailagent.config.accounting import Accounting
from mailagent.config.structs import AgentConfig, Pool, Provider, Stream, VirtualMta
from mailagent.outcome.classification import Classifier, load_rules
from mailagent.postfix.log import sources
from mailagent.postfix.log.changes import Changes
from mailagent.postfix.log.follow import FileTail, Position
from mailagent.postfix.log.keeper import ALL_FOREIGN, LATE_S, LogKeeper, stored_place
from mailagent.postfix.log.lines import LineParser
from mailagent.postfix.log.outcomes import Outcomes
from mailagent.postfix.log.replies import said
from mailagent.postfix.log.sources import FileSource
from mailagent.postfix.tables import HELD
from mailagent.spool import Spool, mirror
from mailagent.spool.ids import message_name
from mailagent.spool.mirror import Listed, ListedRecipient
from mailagent.telemetry.counters import Counters, Tally
from tests.agent.spool.mail import until

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SAMPLES = Path(__file__).parents[3] / "data" / "postfix"
ID, OTHER = "4jXnwf43Y2zJMHh", "4jXnwf446ZzJLyr"
ARRIVED = int(datetime(2026, 11, 23, 1, 12, 18, tzinfo=UTC).timestamp()) * 1000
GMAIL_MX = "gmail-smtp-in.l.google.com"
CONFIG = AgentConfig(
    host=HostName("mx1"),
    pools={PoolName("marketing"): Pool(active=(VmtaName("mkt-1"), VmtaName("mkt-2")))},
    virtual_mtas={
        VmtaName("mkt-1"): VirtualMta(address=IPv4Address("127.0.0.7")),
        VmtaName("mkt-2"): VirtualMta(address=IPv4Address("127.0.0.8")),
    },
    streams={
        StreamName("news"): Stream(pool=PoolName("marketing"), senders=("n@shop.example",)),
        StreamName("other"): Stream(pool=PoolName("elsewhere"), senders=("o@shop.example",)),
    },
    providers={ProviderName("gmail"): Provider(mx=("google.com",))},
    accounting=Accounting(records=("d", "b", "x", "k", "t")),
)


def activated(id: str = ID, *, second: int = 18) -> str:
    return f"Nov 23 01:12:{second} mx1 postfix/qmgr[7]: {id}: from=<n@shop.example>, size=300, nrcpt=1 (queue active)"


def arrived(id: str = ID) -> str:
    return f"Nov 23 01:12:18 mx1 postfix/smtpd[7]: {id}: client=app[192.0.2.5]\n{activated(id)}"


def tried(
    status: str, text: str, *, id: str = ID, to: str = "u@a.example", second: int = 18, service: str = "vmta-mkt-1/smtp"
) -> str:
    return (
        f"Nov 23 01:12:{second} mx1 postfix/{service}[7]: {id}: to=<{to}>, relay={GMAIL_MX}[192.0.2.9]:25,"
        f" delay=5.2, delays=4/0.1/0.8/0.3, dsn=4.2.1, status={status} ({text})"
    )


def gone(id: str = ID, service: str = "qmgr") -> str:
    return f"Nov 23 01:12:30 mx1 postfix/{service}[7]: {id}: removed"


FULL = "host mx[192.0.2.9] said: 452 4.2.2 over quota (in reply to RCPT TO command)"
GREY = "host mx[192.0.2.9] said: 451 4.7.1 greylisted (in reply to RCPT TO command)"


class Rig:
    """A keeper over a log in a directory; it may be stopped and started again."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "mail.log"
        self.path.touch()
        self.accounting: list[dict[str, Any]] = []
        self.counters = Counters()
        self.gone: list[str] = []
        self.lifetime_s = 5 * 86_400
        self.now = ARRIVED / 1000 + 60
        self.spool: Spool
        self.keeper: LogKeeper
        self._state = directory / "state"

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Rig"]:
        """From start to stop."""
        keep = lambda lines: self.accounting.extend(map(json.loads, lines))  # noqa: E731
        self.spool = await Spool.open(self._state, before_commit=keep)
        place = await stored_place(self.spool)
        tail = FileTail(self.path, place.position if place and isinstance(place.position, Position) else None)
        changes = Changes(
            CONFIG,
            Classifier(load_rules()),
            site_of=lambda domain: ("", ""),
            lifetime_s=lambda sender: self.lifetime_s,
        )
        self.keeper = LogKeeper(
            FileSource(tail, LineParser(now=lambda: NOW, zone=UTC)),
            Outcomes("postfix", changes.vmta_of),
            changes,
            self.spool,
            self.counters,
            place=place,
            gone=self.gone.append,
            clock=lambda: self.now,
        )
        task = asyncio.create_task(self.keeper.run(), name="log")
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self.spool.close(clean=True)

    async def log(self, *texts: str) -> None:
        """Write lines, and wait until they are told."""
        lines = "\n".join(texts)
        await until(lambda: self.keeper.begun)
        wanted = self.keeper.told + lines.count("\n") + 1
        with self.path.open("a") as file:
            file.write(lines + "\n")
        await until(lambda: self.keeper.told >= wanted)

    async def put(self, id: str = ID, *texts: str, address: str = "u@a.example", received_at: int = ARRIVED) -> None:
        """A listing has found the message; `texts`: replies of its recipients, if any."""
        listed = Listed(
            message=received_at, queue_id=id, folder="deferred", digest=7, received_at=received_at,
            expires_at=received_at + 1000, sender=b"n@shop.example", size=300, due=5,
            recipients=(ListedRecipient(address.encode(), "a.example"),),
        )  # fmt: skip
        await self.spool.change_mirror(partial(mirror.put, messages=[listed], now=received_at, began=received_at))

    async def attempts(self, id: str = ID, n: int = 0) -> list[Attempt]:
        """Those of one recipient, in the mirror."""
        found = await self.spool.on_mirror(partial(mirror.known, queue_ids=[id]))
        if id not in found:
            return []
        stored = await self.spool.message(message_name(found[id].message, self.spool.tag), n)
        return list(stored.attempts) if stored is not None else []

    async def recipients(self, id: str = ID) -> list[str]:
        """Addresses that wait, in the mirror."""
        found = await self.spool.on_mirror(partial(mirror.known, queue_ids=[id]))
        if id not in found:
            return []
        rows = await self.spool.on_mirror(partial(mirror.recipients, message=found[id].message))
        return [row.address for row in rows]

    @property
    def events(self) -> list[tuple[str, str, int]]:
        """(type, recipient, attempt) of accounting lines."""
        return [(one["type"], one["recipient"], one.get("attempt", 0)) for one in self.accounting]

    def tally(self, provider: str = "gmail", vmta: str = "mkt-1") -> Tally:
        return self.counters.tally("marketing", "news", vmta, provider)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The source looks again as soon as it may."""
    monkeypatch.setattr(sources, "POLL_S", 0.001)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with Rig(tmp_path).running() as one:
        yield one


async def test_mail_that_is_delivered_at_once_is_counted_and_written_down(rig: Rig) -> None:
    await rig.log(arrived(), tried("sent", "250 2.0.0 Ok"), gone())
    (line,) = rig.accounting
    assert (line["type"], line["message_id"], line["attempt"]) == ("delivered", ID, 1)
    assert (line["sender"], line["recipient"], line["client"]) == ("n@shop.example", "u@a.example", "app[192.0.2.5]")
    assert (line["vmta"], line["source"], line["pool"]) == ("mkt-1", "127.0.0.7", "marketing")
    assert line["stream"] == "news"
    assert (line["mx"], line["remote"], line["provider"]) == (GMAIL_MX, "192.0.2.9:25", "gmail")
    assert (line["code"], line["enhanced"], line["text"], line["smtp_verb"]) == (250, "2.0.0", "Ok", ".")
    assert (line["queued_s"], line["duration_s"], line["size_bytes"]) == (5.2, 1.1, 300)
    assert rig.tally().delivered == 1
    assert rig.counters.tally("marketing", "news", "", "").received == 1
    assert rig.gone == [ID]
    assert await rig.recipients() == []


@pytest.mark.parametrize(
    ("said", "level"),
    [
        ("may", "may"), ("none", ""), ("none?", ""), ("may:none", ""), ("may?", ""), ("dane:encrypt", "encrypt"),
        ("!encrypt:none", ""), ("secure/requiretls", "secure"), ("may:none/requiretls:nostarttls", ""),
    ],
)  # fmt: skip
async def test_tls_is_what_the_connection_had(rig: Rig, said: str, level: str) -> None:
    """In the words of 3.11, postconf(5), smtp_log_tls_feature_status."""
    await rig.log(arrived(), tried("sent", "250 2.0.0 Ok").replace(", dsn", f", tls={said}, dsn"), gone())
    assert [line.get("tls", "") for line in rig.accounting] == [level]


@pytest.mark.parametrize("version", ["3.5", "3.11"])
async def test_all_that_old_and_new_versions_log_is_accounted_for(rig: Rig, version: str) -> None:
    lines = (SAMPLES / f"{version}.log").read_text(encoding="utf-8").splitlines()
    await rig.log(*lines)
    told = Counter(word for line in lines if (word := line.partition(" status=")[2].partition(" ")[0]))
    kinds = Counter(one["type"] for one in rig.accounting)
    assert (kinds["delivered"], kinds["deferred"]) == (told["sent"], told["deferred"])
    assert kinds["bounced"] == told["bounced"] + 1  # one was expired by force
    assert kinds["deleted"] == 1
    assert len({one["event"] for one in rig.accounting}) == len(rig.accounting)
    assert "用户@down.test" in {one["recipient"] for one in rig.accounting}
    assert {one.get("tls", "") for one in rig.accounting} == {""}
    assert rig.keeper.notices() == []


async def test_a_deferral_leaves_its_attempt_in_the_mirror_before_any_listing(rig: Rig) -> None:
    await rig.log(arrived(), tried("deferred", FULL))
    (attempt,) = await rig.attempts()
    assert (attempt.number, attempt.vmta, attempt.source, attempt.mx) == (1, "mkt-1", "127.0.0.7", GMAIL_MX)
    assert (attempt.reply.code, attempt.reply.enhanced, attempt.reply.text) == (452, "4.2.2", "over quota")
    assert attempt.verdict is not None
    assert attempt.verdict.category == "mailbox-full"
    assert rig.accounting[0]["category"] == "mailbox-full"
    assert rig.tally().deferred == 1
    await rig.put()  # the listing that comes then has nothing to add
    assert len(await rig.attempts()) == 1


async def test_attempts_go_on_from_what_a_listing_has(rig: Rig) -> None:
    await rig.put()
    await rig.log(activated(), tried("deferred", GREY), activated(second=20), tried("deferred", FULL, second=20))
    assert [(one.number, one.reply.text) for one in await rig.attempts()] == [(1, "greylisted"), (2, "over quota")]
    await rig.log(tried("sent", "250 2.0.0 Ok", second=30), gone())
    assert await rig.recipients() == []
    assert rig.events == [
        ("deferred", "u@a.example", 1),
        ("deferred", "u@a.example", 2),
        ("delivered", "u@a.example", 3),
    ]


async def test_recipients_are_their_own(rig: Rig) -> None:
    await rig.put()
    await rig.log(
        activated(), tried("bounced", FULL.replace("452 4", "550 5")), tried("deferred", GREY, to="v@a.example")
    )
    assert await rig.recipients() == ["v@a.example"]
    assert rig.tally().bounced == 1


async def test_a_suspension_of_ours_keeps_the_last_real_reply(rig: Rig) -> None:
    await rig.log(arrived(), tried("deferred", FULL))
    await rig.log(activated(second=20), tried("deferred", f"{HELD}: by ada", second=20, service="error"))
    assert [one.reply.text for one in await rig.attempts()] == ["over quota"]
    assert len(rig.accounting) == rig.tally().deferred == 1


async def test_a_stream_that_does_not_leave_from_that_pool_is_none(rig: Rig) -> None:
    await rig.log(arrived().replace("n@shop", "o@shop"), tried("sent", "250 2.0.0 Ok"))
    assert (rig.accounting[0]["pool"], rig.accounting[0]["stream"]) == ("marketing", "")


async def test_what_cannot_be_said_is_noticed(rig: Rig) -> None:
    assert rig.keeper.notices() == []
    await rig.log(tried("sent", "250 2.0.0 Ok").replace("delays=", "later="))
    assert rig.keeper.notices() == ["not understood: 1 line of the log about recipients"]
    await rig.log(*[gone().replace("postfix/", "postfix-in/")] * ALL_FOREIGN)
    assert "none of 1,001 lines" in rig.keeper.notices()[1]
    assert "syslog_name postfix" in rig.keeper.notices()[1]
    await rig.log(gone())
    assert len(rig.keeper.notices()) == 1


async def test_what_is_read_late_is_accounted_and_no_rate(rig: Rig) -> None:
    rig.now += LATE_S
    await rig.log(arrived(), tried("sent", "250 2.0.0 Ok"))
    assert len(rig.accounting) == 1
    assert rig.tally().delivered == rig.counters.tally("marketing", "news", "", "").received == 0


async def test_a_log_that_is_far_ahead_is_noticed(rig: Rig) -> None:
    rig.keeper.source.behind_bytes = 30 << 20
    assert rig.keeper.notices() == ["the log is 30 MB ahead of these figures"]
    rig.keeper.source.trouble = "there is no log /var/log/mail.log"
    assert rig.keeper.notices() == ["outcomes, rates and attempts are unknown: there is no log /var/log/mail.log"]


async def test_what_the_spool_refuses_does_not_stop_the_log(rig: Rig) -> None:
    rig.lifetime_s = 2**70
    await rig.log(arrived(), tried("deferred", FULL))
    await rig.log(tried("sent", "250 2.0.0 Ok"))
    assert rig.events == [("delivered", "u@a.example", 1)]
    assert "not stored" in rig.keeper.notices()[0]


async def test_what_expires_is_accounted_with_its_last_reply(rig: Rig) -> None:
    await rig.log(arrived(), tried("deferred", FULL))
    await rig.log(
        f"Nov 23 01:12:30 mx1 postfix/qmgr[7]: {ID}: from=<n@shop.example>, status=expired, returned to sender", gone()
    )
    line = rig.accounting[-1]
    assert (line["type"], line["attempt"], line["text"], line["vmta"]) == ("expired", 1, "over quota", "mkt-1")
    assert await rig.recipients() == []
    assert rig.tally().bounced == 1


@pytest.mark.parametrize(("text", "service", "kind"), [
    ("from=<n@shop.example>, status=force-expired, returned to sender", "qmgr", "bounced"),
    ("removed", "postsuper", "deleted"),
])  # fmt: skip
async def test_what_operators_end_says_so(rig: Rig, text: str, service: str, kind: str) -> None:
    await rig.put()
    await rig.log(f"Nov 23 01:12:30 mx1 postfix/{service}[7]: {ID}: {text}")
    (line,) = rig.accounting
    assert (line["type"], line["recipient"]) == (kind, "u@a.example")
    assert "order" in line["text"]
    assert await rig.recipients() == []


async def test_a_requeued_message_keeps_its_attempts(rig: Rig) -> None:
    await rig.log(arrived(), tried("deferred", FULL))
    await rig.log(
        f"Nov 23 01:12:20 mx1 postfix/pickup[7]: {OTHER}: uid=103 from=<n@shop.example> orig_id={ID}",
        activated(OTHER),
        tried("deferred", GREY, id=OTHER, second=21),
    )
    assert [one.number for one in await rig.attempts(OTHER)] == [1, 2]
    assert await rig.recipients() == []
    assert rig.gone == [ID]


async def test_a_short_queue_id_that_comes_again_is_another_message(rig: Rig) -> None:
    short = "9D1A32E1B"
    await rig.put(short, received_at=ARRIVED - 86_400_000, address="old@a.example")
    await rig.log(arrived(short), tried("deferred", FULL, id=short))
    assert await rig.recipients(short) == ["u@a.example"]
    assert len(await rig.attempts(short)) == 1


async def test_a_listing_that_was_faster_does_not_make_a_second_attempt(rig: Rig) -> None:
    reply = said("", "deferred", FULL).reply
    recipient = ListedRecipient(b"u@a.example", "a.example", reply)
    listed = Listed(
        message=ARRIVED, queue_id=ID, folder="deferred", digest=7, received_at=ARRIVED, expires_at=ARRIVED + 1000,
        sender=b"", size=300, due=5, recipients=(recipient,),
    )  # fmt: skip
    await rig.put()
    await rig.spool.change_mirror(partial(mirror.put, messages=[listed], now=ARRIVED + 9000, began=ARRIVED))
    await rig.log(activated(), tried("deferred", FULL))
    (attempt,) = await rig.attempts()
    assert (attempt.number, attempt.vmta) == (1, "mkt-1")


async def test_a_listing_that_is_older_than_the_log_changes_no_reply(rig: Rig) -> None:
    await rig.log(arrived(), tried("deferred", GREY), activated(second=20), tried("deferred", FULL, second=20))
    recipient = ListedRecipient(b"u@a.example", "a.example", said("", "deferred", GREY).reply)
    listed = Listed(
        message=ARRIVED, queue_id=ID, folder="deferred", digest=7, received_at=ARRIVED, expires_at=ARRIVED + 1000,
        sender=b"n@shop.example", size=300, due=5, recipients=(recipient,),
    )  # fmt: skip
    await rig.spool.change_mirror(partial(mirror.put, messages=[listed], now=ARRIVED + 9000, began=ARRIVED + 1000))
    assert [one.reply.text for one in await rig.attempts()] == ["greylisted", "over quota"]
    listed = msgspec.structs.replace(listed, size=400)  # one that began later knows better
    await rig.spool.change_mirror(partial(mirror.put, messages=[listed], now=ARRIVED + 9000, began=ARRIVED + 8000))
    assert [one.reply.text for one in await rig.attempts()] == ["greylisted", "over quota", "greylisted"]


async def test_nothing_is_told_twice_or_lost_over_a_restart(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    lines = (SAMPLES / "long-ids.log").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    done = 0
    for size in (40, 3, 90, 60, 200):
        async with rig.running():
            await rig.log(*lines[done : done + size])
        done += size
    assert done > len(lines)
    (tmp_path / "once").mkdir()
    once = Rig(tmp_path / "once")
    async with once.running():
        await once.log(*lines)
    assert [one["event"] for one in rig.accounting] == [one["event"] for one in once.accounting]
    assert len({one["event"] for one in rig.accounting}) == len(rig.accounting) > 50
    assert rig.accounting == once.accounting


async def test_what_is_written_while_the_agent_is_down_is_told_when_it_is_back(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    async with rig.running():
        await rig.log(arrived())
    with rig.path.open("a") as file:
        file.write(tried("sent", "250 2.0.0 Ok") + "\n")
    rig.path.rename(rig.path.with_name("mail.log.1"))
    rig.path.write_text(gone() + "\n")
    async with rig.running():
        await until(lambda: rig.keeper.told == 2)
    assert rig.gone == [ID]
    (line,) = rig.accounting
    assert (line["type"], line["client"], line["attempt"]) == ("delivered", "app[192.0.2.5]", 1)


async def test_after_a_gap_nothing_older_is_told_again(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    async with rig.running():
        await rig.log(arrived(), tried("deferred", FULL, second=25))
    rig.path.write_text(  # another file, which has the old lines too
        "\n".join(["rewritten", arrived(), tried("deferred", GREY, second=19), tried("sent", "250 Ok", second=40)])
        + "\n"
    )
    async with rig.running():
        await until(lambda: len(rig.accounting) == 2)
        assert rig.keeper.gaps == 1
    assert rig.events == [("deferred", "u@a.example", 1), ("delivered", "u@a.example", 2)]
