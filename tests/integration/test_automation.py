"""A provider that slows us down: limits go down by directive, say why, and come back in quiet time."""

import asyncio
from pathlib import Path

from mailagent.api.automation import AutomationView
from mailagent.api.directives import DirectiveKind
from mailagent.api.reasons import ReasonKind
from mailagent.api.targets import Target, TargetKind
from tests.integration.client import Client
from tests.integration.rig import MKT1, MKT2, POOLS, SOON, Rig, rig
from tests.integration.sink import Mail

TEXT = """\
virtual_mtas: {mkt-1: {address: 127.0.1.1}}
pools: {marketing: {active: [mkt-1]}}
streams: {default: {pool: marketing}}
"""
BIG = """\
providers:
  big: {mx: [big.example], sites: {big: [mx.big.example]}, connections: 4, provider_connections: 4}
"""
UNUSUAL = b"421 4.7.28 Our system has detected an unusual rate of mail. p=UnsolicitedRateLimitError\r\n"
BLOCKED = b"554 5.7.1 Service unavailable; client host [127.0.1.1] blocked using zen.spamhaus.org\r\n"
CELL = Target(kind=TargetKind.CELL, name="big/mkt-1")


async def automation(one: Rig) -> AutomationView:
    found: AutomationView = await one.call("automation")
    return found


async def test_replies_lower_limits_quiet_time_raises_them_and_operators_see_why(tmp_path: Path) -> None:
    settings = "automation: {quiet: 2s, pause: 100ms}\n"
    async with rig(tmp_path, TEXT + BIG + SOON + settings) as one:
        first = [f"first{n}@big.example" for n in range(400)]
        await Client(one.port, iter(first)).run(4)
        await one.delivered(*first)
        one.sink.refuse = lambda mail, recipient: UNUSUAL
        recipients = [f"r{n}@big.example" for n in range(14)]
        await Client(one.port, iter(recipients)).run(2)
        state = await one.shows(
            lambda now: any(one.directive.value == "1" for one in now.directives), "one connection", timeout_s=20
        )
        orders = {view.directive.limit: view.directive for view in state.directives}
        assert set(orders) == {"provider_connections", "provider_rate"}
        for order in orders.values():
            assert (order.author, order.target, order.rule) == ("automation", CELL, "default.too-fast")
            assert order.reply.startswith("421 4.7.28 Our system has detected an unusual rate")
            assert order.reply in order.reason
            assert order.expires_at is not None
        assert orders["provider_connections"].base == "4"
        view = await automation(one)
        assert {order.id for order in view.live} == {order.id for order in orders.values()}
        hits = {rule.name: rule.hits for rule in view.rules}
        assert hits["default.too-fast"] >= 3

        one.sink.gate = asyncio.Event()
        one.sink.refuse = lambda mail, recipient: None
        one.sink.most_open = 0
        await one.holds(lambda: one.sink.at_gate == 1, "one connection at work")
        bindings = [one for one in (await one.snapshot()).destinations if one.binding is not None]
        assert bindings[0].binding is not None
        if bindings[0].binding.kind is ReasonKind.RULE:  # else quiet time has raised it meanwhile
            assert bindings[0].binding.origin == "automation"
            assert "quiet time, or mailctl cancel auto-" in bindings[0].binding.release
        one.sink.gate.set()
        await one.delivered(*recipients, timeout_s=40)
        await one.shows(lambda now: not now.directives, "limits as configured", timeout_s=20)
        assert set(one.sink.received.values()) == {1}


async def test_a_blocked_address_is_suspended_at_that_provider_and_its_mail_leaves_from_another(
    tmp_path: Path,
) -> None:
    async with rig(tmp_path, POOLS + BIG + SOON) as one:

        def refuse(mail: Mail, recipient: str) -> bytes | None:
            return BLOCKED if mail.source == MKT1 and recipient.endswith("@big.example") else None

        one.sink.refuse = refuse
        recipients = [f"r{n}@big.example" for n in range(20)]
        await one.accepted(*recipients)
        await one.delivered(*recipients)
        (view,) = [one for one in (await one.snapshot()).directives if one.directive.kind is DirectiveKind.SUSPEND]
        assert (view.directive.target, view.directive.rule) == (CELL, "default.block-list")
        assert one.sink.sources_of(*recipients) == {MKT2}
        other = [f"r{n}@other.example" for n in range(10)]
        await one.accepted(*other)
        await one.delivered(*other)
        assert one.sink.sources_of(*other) == {MKT1, MKT2}  # nobody else is held

        refused = [recipient for recipient in recipients if one.sink.attempts(recipient)[0].source == MKT1]
        assert refused
        assert {one.sink.attempts(recipient)[1].source for recipient in refused} == {MKT2}
        await one.do("edit", directive=view.directive.id, ttl_s=1)
        await one.shows(
            lambda now: not [one for one in now.directives if one.directive.kind is DirectiveKind.SUSPEND],
            "the end of the suspension",
        )


async def test_another_address_is_not_tried_after_a_refusal_of_content(tmp_path: Path) -> None:
    spam = b"450 4.7.1 message looks like spam: content rejected\r\n"
    async with rig(tmp_path, POOLS + BIG + SOON) as one:
        seen: set[str] = set()

        def refuse(mail: Mail, recipient: str) -> bytes | None:
            if recipient in seen:
                return None
            seen.add(recipient)
            return spam

        one.sink.refuse = refuse
        recipients = [f"r{n}@big.example" for n in range(12)]
        await one.accepted(*recipients)
        await one.delivered(*recipients)
        for recipient in recipients:
            tried = one.sink.attempts(recipient)
            assert len({mail.source for mail in tried}) == 1


async def test_suspended_mail_keeps_its_attempts_and_leaves_when_the_suspension_ends(tmp_path: Path) -> None:
    async with rig(tmp_path, TEXT + BIG + SOON) as one:
        one.sink.refuse = lambda mail, recipient: BLOCKED
        await one.accepted("r0@big.example", "r1@big.example", "r2@big.example")
        state = await one.shows(
            lambda now: any(view.directive.kind is DirectiveKind.SUSPEND for view in now.directives), "a suspension"
        )
        one.sink.refuse = lambda mail, recipient: None
        held = [f"held{n}@big.example" for n in range(5)]
        await one.accepted(*held)
        detail = await one.explained(held[0], lambda now: now.reasons[0].kind is ReasonKind.RULE, "held by the rule")
        assert detail.reasons[0].origin == "automation"
        assert "blocked using zen.spamhaus.org" in detail.reasons[0].detail
        assert [row.attempts for row in await one.waiting(recipient=held[0])] == [0]
        (order,) = [view.directive for view in state.directives if view.directive.kind is DirectiveKind.SUSPEND]
        await one.do("edit", directive=order.id, ttl_s=1)
        await one.delivered(*held, timeout_s=40)
        assert {len(one.sink.attempts(recipient)) for recipient in held} == {1}
        # what holds afterwards is less than what the configuration says, and only quiet time raises it
        limits = [view.directive for view in (await one.snapshot()).directives]
        assert {limit.kind for limit in limits} == {DirectiveKind.LIMIT}
        assert all(limit.base and limit.author == "automation" for limit in limits)
