"""What replies mean to a running agent: kept with attempts and groups, and deciding what bounces."""

from pathlib import Path

import pytest

from mailagent.api.classification import Action, Category
from mailagent.api.errors import InvalidRequest
from mailagent.api.operations import Result
from mailagent.api.targets import MessageFilter
from tests.integration.rig import LATE, POOLS, SOON, rig
from tests.integration.shell import Shell

LIMITED = b"550 5.7.1 Daily message limit exceeded, slow down\r\n"
ODD = b"554 5.7.1 qwertz\r\n"


async def test_a_5yz_about_a_limit_waits_with_its_meaning_and_others_bounce(tmp_path: Path) -> None:
    async with rig(tmp_path, POOLS + LATE) as one:
        one.sink.refuse = lambda mail, recipient: LIMITED if recipient.startswith("later") else ODD
        await one.send("later@a.example", "never@a.example", sender="author@sender.example")
        detail = await one.explained("later@a.example", lambda detail: bool(detail.attempts), "an attempt")
        (attempt,) = detail.attempts
        assert attempt.verdict is not None
        assert (attempt.verdict.category, attempt.verdict.action) == (Category.RATE_LIMIT, Action.BACKOFF)
        assert attempt.verdict.rule == "rate-limit"
        (group,) = (await one.call("deferred", filter=MessageFilter(recipient="later@a.example"))).groups
        assert (group.category, group.rule) == (Category.RATE_LIMIT, "rate-limit")
        await one.restart()
        assert (await one.explain("later@a.example")).attempts == (attempt,)
        shell = Shell(one, tmp_path)
        _, out, _ = await shell.run("message", str(detail.summary.message_id))
        assert "rate-limit (rate-limit)" in out
        _, out, _ = await shell.run("deferred")
        assert "rate-limit" in out
        await one.stop()
        lines = {(line["recipient"], line["type"]): line for line in one.accounting()}
        later, never = lines["later@a.example", "deferred"], lines["never@a.example", "bounced"]
        assert (later["category"], later["action"], later["rule_id"]) == ("rate-limit", "backoff", "rate-limit")
        assert (never["category"], never["action"], never["rule_id"]) == ("policy", "fail", "code-policy")


async def test_a_refusal_that_goes_on_bounces_when_patience_is_over(tmp_path: Path) -> None:
    patience = "classification: {patience: 1ms}\n"
    async with rig(tmp_path, POOLS + SOON + patience) as one:
        one.sink.refuse = lambda mail, recipient: LIMITED if "@a." in recipient else None
        await one.send("later@a.example", sender="author@sender.example")
        await one.delivered("author@sender.example")  # the report: borne twice, then it bounces
        await one.stop()
        kinds = [line["type"] for line in one.accounting() if line["recipient"] == "later@a.example"]
        assert kinds == ["deferred", "deferred", "bounced"]


async def test_own_rules_are_taken_over_by_a_reload_and_a_file_with_mistakes_is_not(tmp_path: Path) -> None:
    own = tmp_path / "rules.yaml"
    own.write_text("rules: [{id: mine, text: ['qwertz'], category: rate-limit, examples: [554 qwertz]}]\n")
    sections = POOLS + LATE + f"classification: {{rules: {own}}}\n"
    async with rig(tmp_path, sections) as one:
        one.sink.refuse = lambda mail, recipient: ODD
        await one.accepted("r1@a.example")
        detail = await one.explained("r1@a.example", lambda detail: bool(detail.attempts), "an attempt")
        assert detail.attempts[0].verdict is not None
        assert detail.attempts[0].verdict.rule == "mine"
        own.write_text("rules: [{id: mine, text: ['Qwertz'], category: rate-limit}]\n")
        with pytest.raises(InvalidRequest, match=r"rules\.yaml:1: .*: has a capital letter"):
            await one.do("reload")
        own.write_text("rules: [{id: other, text: ['qwertz'], category: rate-limit}]\n")
        assert (await one.do("reload")).result in (Result.APPLIED, Result.NOTHING_TO_DO)
        await one.accepted("r2@a.example")
        detail = await one.explained("r2@a.example", lambda detail: bool(detail.attempts), "an attempt")
        assert detail.attempts[0].verdict is not None
        assert detail.attempts[0].verdict.rule == "other"
