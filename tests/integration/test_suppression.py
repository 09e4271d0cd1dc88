"""The suppression list of a running agent: fed by bounces and verbs, asked at RCPT and before attempts."""

import asyncio
import smtplib
from pathlib import Path

import pytest

from mailagent.api.errors import InvalidRequest
from mailagent.api.operations import Result
from mailagent.api.suppression import SuppressionEntry, SuppressionPage, SuppressionReason
from tests.integration.processes import until
from tests.integration.rig import LATE, POOLS, SOON, Rig, rig
from tests.integration.sink import Mail

UNKNOWN = b"550 5.1.1 no such user\r\n"
REFUSED = "550 5.7.1 this recipient is on the suppression list"


def both(port: int) -> dict[str, tuple[int, bytes]]:
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as smtp:
        return smtp.sendmail("author@sender.example", ["nobody@a.example", "fine@a.example"], "Subject: x\r\n\r\nx\r\n")


async def listed(one: Rig, count: int, **query: object) -> SuppressionPage:
    pages: list[SuppressionPage] = []

    async def check() -> bool:
        pages.append(await one.call("suppressions", **query))
        return len(pages[-1].rows) == count

    await until(check, f"{count} suppressions")
    return pages[-1]


async def test_an_unknown_mailbox_is_mailed_once_and_refused_at_rcpt_after_that(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        one.sink.refuse = lambda mail, recipient: UNKNOWN if recipient.startswith("nobody") else None
        await one.accepted("nobody@a.example", sender="author@sender.example")
        (row,) = (await listed(one, 1)).rows
        assert (row.address, row.reason, row.source) == (
            "nobody@a.example",
            SuppressionReason.HARD_BOUNCE,
            "bad-mailbox",
        )
        assert (await one.send("Nobody@A.example")).startswith(REFUSED)
        await one.restart()
        refused = await asyncio.to_thread(both, one.port)
        assert refused["nobody@a.example"][0] == 550  # the others get their mail
        await one.delivered("fine@a.example")
        assert "nobody@a.example" not in one.sink.received
        done = await one.do("suppression_remove", addresses=("NOBODY@a.example",))
        assert done.result is Result.APPLIED
        one.sink.refuse = lambda mail, recipient: None
        await one.accepted("nobody@a.example")
        await one.delivered("nobody@a.example")
        audit = (tmp_path / "state" / "audit.jsonl").read_text(encoding="utf-8")
        assert "suppression_remove" in audit


async def test_mail_that_waits_bounces_before_its_next_attempt_once_its_address_is_on_the_list(tmp_path: Path) -> None:
    later = {"later@a.example", "other@a.example"}

    def judge(mail: Mail, recipient: str) -> bytes | None:
        return b"450 4.3.2 not now\r\n" if recipient in later else None

    async with rig(tmp_path, POOLS + LATE) as one:
        one.sink.refuse = judge
        await one.send("later@a.example", "other@a.example", sender="author@sender.example")
        await one.explained("later@a.example", lambda detail: bool(detail.attempts), "a first attempt")
        entry = SuppressionEntry(address="later@a.example", reason=SuppressionReason.COMPLAINT)
        done = await one.do("suppression_add", entries=(entry,))
        assert done.detail == "1 address put on the suppression list"
        later.clear()
        await one.do("retry", filter={}, spread_s=0)
        await one.delivered("other@a.example", "author@sender.example")  # the latter gets the report
        assert "later@a.example" not in one.sink.received
        await one.stop()
        (bounced,) = [line for line in one.accounting() if line["type"] == "bounced"]
        assert bounced["recipient"] == "later@a.example"
        assert (bounced["category"], bounced["rule_id"]) == ("recipient-policy", "suppressed")
        assert bounced["text"] == "this recipient is on the suppression list (complaint)"


async def test_an_unsubscription_from_one_stream_holds_its_mail_only(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        entry = SuppressionEntry(address="a@a.example", stream="marketing", reason=SuppressionReason.UNSUBSCRIBE)
        await one.do("suppression_add", entries=(entry,))
        await one.accepted("a@a.example", sender="author@sender.example")
        await one.delivered("author@sender.example")
        await one.accepted("a@a.example", sender="shop@tx.example")
        await one.delivered("a@a.example")
        assert one.sink.received["a@a.example"] == 1


async def test_frozen_suppressions_wait_for_a_decision(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        one.sink.refuse = lambda mail, recipient: UNKNOWN if recipient.startswith("nobody") else None
        done = await one.do("suppression_freeze", "host:mx1")
        assert done.result is Result.APPLIED
        (view,) = (await one.snapshot()).directives
        assert view.directive.kind == "freeze-suppression"
        assert view.directive.expires_at is not None
        await one.accepted("nobody1@a.example", "nobody2@a.example")
        page = await listed(one, 2, pending=True)
        assert (page.active, page.pending) == (0, 2)
        done = await one.do("suppression_thaw", "host:mx1")
        assert done.result is Result.APPLIED
        planned = await one.do("suppression_pending", apply=True, dry_run=True)
        assert planned.result is Result.PLANNED
        done = await one.do("suppression_pending", apply=True)
        assert done.detail == "2 pending entries: they take effect"
        assert (await one.send("nobody1@a.example")).startswith(REFUSED)
        assert (await one.do("suppression_pending", apply=False)).result is Result.NOTHING_TO_DO


async def test_a_provider_that_calls_everybody_unknown_is_frozen_by_itself(tmp_path: Path) -> None:
    incident = "suppression: {incident: {least: 5, share: 0.5}}\n"
    async with rig(tmp_path, POOLS + SOON + incident) as one:
        one.sink.refuse = lambda mail, recipient: UNKNOWN

        async def frozen() -> bool:
            await one.accepted(*(f"user{n}-{len(one.sink.mails)}@a.example" for n in range(3)), sender="")
            return bool((await one.snapshot()).directives)

        await until(frozen, "a freeze")
        (view,) = (await one.snapshot()).directives
        assert view.directive.author == "mailagent"
        assert "became unknown" in view.directive.reason

        async def held() -> bool:
            page: SuppressionPage = await one.call("suppressions")
            return page.active == 0 and page.pending >= 5

        await until(held, "entries held back")


async def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        for fields, why in (
            ({"entries": ()}, "no address is given"),
            ({"entries": (SuppressionEntry(address="nobody"),)}, "`nobody` is no address"),
            ({"entries": (SuppressionEntry(address="a@b c"),)}, "is no address"),
            ({"entries": (SuppressionEntry(address="a@b.example", stream="nws"),)}, "nws is no stream"),
            ({"entries": (SuppressionEntry(address="a@b.example"),) * 301}, "at most 300"),
        ):
            with pytest.raises(InvalidRequest, match=why):
                await one.do("suppression_add", **fields)
        planned = await one.do("suppression_add", entries=(SuppressionEntry(address="a@b.example"),), dry_run=True)
        assert planned.result is Result.PLANNED
        assert (await one.call("suppressions")).rows == ()


async def test_a_freeze_is_undone_like_any_order(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        done = await one.do("suppression_freeze", "provider:gmail", ttl_s=600)
        assert done.undoable
        (view,) = (await one.snapshot()).directives
        assert view.directive.target.name == "gmail"
        assert (await one.do("suppression_freeze", "provider:gmail")).result is Result.NOTHING_TO_DO
        await one.do("undo", undoes=done.op_id)
        assert (await one.snapshot()).directives == ()
        assert (await one.do("suppression_thaw", "provider:gmail")).result is Result.NOTHING_TO_DO


async def test_a_name_service_that_knows_no_domain_any_more_freezes_the_host(tmp_path: Path) -> None:
    incident = "suppression: {incident: {least: 3, share: 0.5}}\n"
    async with rig(tmp_path, POOLS + SOON + incident) as one:
        sent = 0

        async def frozen() -> bool:
            nonlocal sent
            sent += 1
            await one.accepted(*(f"user@d{sent}-{n}.invalid" for n in range(3)), sender="")
            return bool((await one.snapshot()).directives)

        await until(frozen, "a freeze")
        (view,) = (await one.snapshot()).directives
        assert (view.directive.kind, str(view.directive.target)) == ("freeze-suppression", "host:mx1")
        assert "within 10m" in view.directive.reason
        assert (await one.call("suppressions")).active == 0
