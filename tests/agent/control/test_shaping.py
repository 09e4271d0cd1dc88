"""Adaptive shaping: what replies and quiet time do to limits, over any order of events."""

import re
from datetime import timedelta
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailagent.api import requests
from mailagent.api.classification import Action, Category, Scope, Verdict
from mailagent.api.directives import Directive, DirectiveKind
from mailagent.api.ids import DirectiveId, OpId, ProviderName, SiteName, StreamName, VmtaName
from mailagent.api.smtp import SmtpReply, Verb
from mailagent.api.views import Flow
from mailagent.config.automation import Automation as Settings
from mailagent.config.automation import AutomationMode, Rule, RuleAct, RuleScope
from mailagent.config.providers import merge_providers, shipped_providers
from mailagent.config.scalars import parse_limit
from mailagent.config.structs import AgentConfig, Provider, Rate
from mailagent.control.automation import Automation
from mailagent.control.shaping import (
    AUTHOR,
    Matches,
    NamedRule,
    RuleBook,
    Seen,
    halved,
    quarter,
    raised,
)
from mailagent.routing import LimitTable, PathLimits, Site
from mailagent.scheduling.item import Item
from mailagent.scheduling.ready import ReadyQueue
from tests.agent.control.bench import ALICE, Bench
from tests.agent.control.fleet import CONFIG, GMAIL, MKT_1, NEWS, target

GMAIL_SITE = Site(name=SiteName("gmail"), provider=GMAIL, hosts=())
UNKNOWN_SITE = Site(name=SiteName("mx.small.example"), provider=ProviderName("default"), hosts=())
TOO_FAST = SmtpReply(code=421, enhanced="4.7.28", text="unusual rate of mail", verb=Verb.MAIL)
QUIET = timedelta(minutes=15)
MAX_LIFE = timedelta(hours=24)


def fleet(**providers: Provider) -> AgentConfig:
    own = {ProviderName(name): provider for name, provider in providers.items()}
    return msgspec.structs.replace(CONFIG, providers=merge_providers(own))


class Rig:
    """Automation over a control with a ledger in memory, and a clock that only the test moves."""

    def __init__(self, config: AgentConfig | None = None, sending_1m: int = 600) -> None:
        self.config = config or fleet()
        self.bench = Bench(self.config)
        self.sending_1m = sending_1m
        self.attempts = 0
        self.table = LimitTable(self.config)
        self.automation = Automation(
            self.config,
            self.bench.control,
            limits=self.table.limits,
            attempts=lambda vmta, provider: self.attempts,
            flow=lambda scope, name: Flow(delivered_1m=self.sending_1m),
            clock=self.bench.clock,
        )

    async def hear(
        self,
        reply: SmtpReply = TOO_FAST,
        category: Category = Category.RATE_LIMIT,
        site: Site = GMAIL_SITE,
        *,
        times: int = 1,
        vmta: VmtaName = MKT_1,
        apart: timedelta = timedelta(),
        of: int = 1,
    ) -> None:
        """So many replies, each after `of` attempts."""
        for _ in range(times):
            self.attempts += of
            self.bench.now += apart
            self.automation.seen(Seen(site=site, vmta=vmta, stream=NEWS, reply=reply, category=category))
            await self.automation.look()

    async def wait(self, span: timedelta) -> None:
        """Time passes; control and automation look every minute."""
        while span > timedelta():
            step = min(span, timedelta(minutes=1))
            self.bench.now += step
            span -= step
            await self.bench.control.expire(self.bench.now)
            await self.automation.look()

    @property
    def live(self) -> dict[str, str]:
        """What automation holds, `target limit` -> value."""
        return {f"{one.target} {one.limit or one.kind}": one.value for one in self.bench.control.state.directives}

    def limits(self, site: Site = GMAIL_SITE, vmta: VmtaName = MKT_1) -> PathLimits:
        overrides = self.bench.control.state.limits(vmta, site.provider, site.group)
        return self.table.limits(site, vmta).lowered({name: one.limit for name, one in overrides.items()})


async def test_replies_step_limits_down_to_the_floor_and_quiet_time_steps_them_up() -> None:
    rig = Rig()
    seen = []
    for _ in range(12):
        await rig.hear(times=2)
        seen.append((str(rig.limits().provider_connections), str(rig.limits().provider_rate)))
        await rig.wait(timedelta(minutes=2))
    assert list(dict.fromkeys(seen)) == [
        ("2", "300/m"),
        ("1", "150/m"),
        ("1", "75/m"),
        ("1", "37/m"),
        ("1", "18/m"),
        ("1", "9/m"),
        ("1", "4/m"),
        ("1", "2/m"),
        ("1", "1/m"),
    ]
    climbing = []
    for _ in range(6):
        await rig.wait(QUIET)
        climbing.append((str(rig.limits().provider_connections), str(rig.limits().provider_rate)))
    assert climbing == [("2", "151/m"), ("3", "301/m"), ("4", "451/m"), ("5", ""), ("5", ""), ("5", "")]
    assert rig.live == {}


async def test_the_reason_says_the_rule_and_the_reply_and_shows_where_the_limit_binds() -> None:
    rig = Rig()
    await rig.hear(times=2)
    (rate,) = [one for one in rig.bench.control.state.directives if one.limit == "provider_rate"]
    assert (rate.author, rate.rule, rate.base) == (AUTHOR, "gmail.unusual-rate", "600/m")
    assert rate.reply == "421 4.7.28 unusual rate of mail"
    assert rate.reason == "rule gmail.unusual-rate: 2 in 1 h: 421 4.7.28 unusual rate of mail"
    assert rate.expires_at is not None
    limit = rig.limits().provider_rate
    assert limit.origin == "automation"
    assert f"quiet time, or mailctl cancel {rate.id}" in limit.release


async def test_below_the_threshold_and_for_local_replies_nothing_happens() -> None:
    rig = Rig()
    await rig.hear(times=1)
    await rig.hear(msgspec.structs.replace(TOO_FAST, local=True), times=9)
    await rig.hear(times=5, apart=timedelta(minutes=61), of=1000)
    await rig.hear(SmtpReply(code=550, text="no such user"), Category.BAD_MAILBOX, times=9)
    assert rig.live == {}


async def test_a_fifth_of_the_last_fifty_attempts_is_enough_though_no_hour_has_three() -> None:
    rig = Rig()
    slow = SmtpReply(code=451, text="slow down", verb=Verb.MAIL)
    await rig.hear(slow, site=UNKNOWN_SITE, times=9, apart=timedelta(minutes=40), of=4)
    assert rig.live == {}
    await rig.hear(slow, site=UNKNOWN_SITE, apart=timedelta(minutes=40), of=4)
    assert rig.live == {
        "queue:mx.small.example/mkt-1 connections": "5",
        "queue:mx.small.example/mkt-1 rate": "300/m",
    }


async def test_one_step_answers_everything_that_was_under_way() -> None:
    rig = Rig()
    await rig.hear(times=200)
    assert rig.live["cell:gmail/mkt-1 provider_rate"] == "300/m"
    assert len(rig.bench.ledger.entries) == 1  # a write for each step, not for each reply


async def test_a_suspension_ends_at_a_quarter_and_climbs() -> None:
    rig = Rig()
    reply = SmtpReply(code=421, enhanced="4.7.0", text="very low reputation of the sending IP address")
    await rig.hear(reply, Category.IP_REPUTATION, times=5)
    state = rig.bench.control.state
    block = state.vmta_block(MKT_1, "gmail", GMAIL)
    assert block is not None
    assert block.origin == AUTHOR
    assert state.vmta_block(VmtaName("tx-1"), "gmail", GMAIL) is None  # another address may help
    assert state.vmta_block(MKT_1, "yahoo", ProviderName("yahoo")) is None
    await rig.wait(timedelta(minutes=61))
    assert rig.bench.control.state.vmta_block(MKT_1, "gmail", GMAIL) is None
    assert (str(rig.limits().provider_connections), str(rig.limits().provider_rate)) == ("1", "150/m")
    await rig.wait(4 * QUIET)
    assert rig.live == {}


async def test_the_longest_suspension_still_ends_at_a_quarter_within_a_day() -> None:
    rig = Rig()
    site = Site(name=SiteName("yahoo"), provider=ProviderName("yahoo"), hosts=())
    reply = SmtpReply(code=553, enhanced="5.7.2", text="[TSS09] All messages will be permanently deferred")
    await rig.hear(reply, Category.IP_REPUTATION, site, times=2)
    assert {str(one.kind) for one in rig.bench.control.state.directives} == {"suspend", "limit"}
    ends = {one.kind: one.expires_at for one in rig.bench.control.state.directives}
    assert ends[DirectiveKind.SUSPEND] == rig.bench.now + MAX_LIFE - 5 * QUIET
    assert ends[DirectiveKind.LIMIT] == rig.bench.now + MAX_LIFE


async def test_trouble_at_many_sites_is_one_operation_and_bounded() -> None:
    rig = Rig()
    for n in range(400):
        site = Site(name=SiteName(f"mx{n}.example"), provider=ProviderName("default"), hosts=())
        for _ in range(3):
            rig.automation.seen(Seen(site=site, vmta=MKT_1, stream=NEWS, reply=TOO_FAST, category=Category.RATE_LIMIT))
    await rig.automation.look()
    assert len(rig.bench.ledger.entries) == 1
    assert len(rig.bench.control.state.directives) == 256
    await rig.wait(timedelta(hours=2))
    assert rig.live == {}


async def test_a_domain_reputation_holds_the_stream_at_that_provider_alone() -> None:
    rig = Rig()
    reply = SmtpReply(code=550, enhanced="5.7.1", text="very low reputation of the sending domain")
    await rig.hear(reply, Category.DOMAIN_REPUTATION, times=5)
    state = rig.bench.control.state
    pool = CONFIG.streams[NEWS].pool
    assert state.queue_block(pool, NEWS, GMAIL) is not None
    assert state.queue_block(pool, NEWS, ProviderName("yahoo")) is None
    assert state.queue_block(pool, StreamName("other"), GMAIL) is None
    assert state.vmta_block(MKT_1, "gmail", GMAIL) is None


async def test_a_fault_of_ours_holds_the_stream_only_above_its_threshold() -> None:
    rig = Rig()
    reply = SmtpReply(code=550, enhanced="5.7.26", text="Unauthenticated email is not accepted")
    await rig.hear(reply, Category.AUTH_FAILURE, times=19)
    assert rig.live == {}
    await rig.hear(reply, Category.AUTH_FAILURE)
    assert rig.live == {"stream:news suspend": ""}
    await rig.wait(timedelta(minutes=31))
    assert rig.live == {}


async def test_fixed_limits_count_over_all_sites_of_the_provider_and_end() -> None:
    rig = Rig()
    site = Site(name=SiteName("hotmail"), provider=ProviderName("outlook"), hosts=())
    reply = SmtpReply(code=451, enhanced="4.7.650", text="temporarily rate limited due to IP reputation")
    await rig.hear(reply, Category.IP_REPUTATION, site, times=3)
    assert rig.live == {"cell:outlook/mkt-1 provider_connections": "1", "cell:outlook/mkt-1 provider_rate": "1/m"}
    await rig.wait(timedelta(minutes=91))
    assert rig.live == {}


async def test_a_pinned_order_is_left_alone_until_it_ends() -> None:
    rig = Rig()
    await rig.hear(times=2)
    ids = [one.id for one in rig.bench.control.state.directives]
    for n, one in enumerate(ids):
        await rig.bench.control.edit(
            requests.Edit(op_id=OpId(f"pin{n}"), directive=DirectiveId(one), pin=True, ttl_s=7200), ALICE
        )
    before = rig.live
    await rig.wait(timedelta(minutes=2))
    await rig.hear(times=9)
    await rig.wait(timedelta(minutes=110))
    assert rig.live == before
    assert all(one.pinned and one.author == AUTHOR for one in rig.bench.control.state.directives)
    await rig.wait(timedelta(minutes=10))
    assert rig.live == {}


async def test_an_order_can_be_shortened_cancelled_and_brought_back() -> None:
    rig = Rig()
    await rig.hear(times=2)
    control = rig.bench.control
    rate, connections = sorted(control.state.directives, key=lambda one: one.limit, reverse=True)
    await control.edit(requests.Edit(op_id=OpId("short"), directive=rate.id, ttl_s=60), ALICE)
    await control.cancel(requests.Cancel(op_id=OpId("away"), directive=connections.id), ALICE)
    assert list(rig.live) == ["cell:gmail/mkt-1 provider_rate"]
    await control.undo(requests.Undo(op_id=OpId("back"), undoes=OpId("away")), ALICE)
    assert len(rig.live) == 2
    await rig.wait(timedelta(minutes=2))
    assert list(rig.live) == ["cell:gmail/mkt-1 provider_connections"]


async def test_dry_run_only_says_what_it_would_do() -> None:
    for settings_ in (Settings(mode=AutomationMode.DRY_RUN), Settings(dry_run=("gmail.unusual-rate",))):
        rig = Rig(msgspec.structs.replace(fleet(), automation=settings_))
        await rig.hear(times=2)
        assert rig.live == {}
        view = await rig.automation.automation(requests.Empty())
        assert [(one.rule, one.reply) for one in view.would] == [("gmail.unusual-rate", TOO_FAST.line())]
        assert "provider_rate 600/m -> 300/m" in view.would[0].detail


async def test_a_rule_that_is_off_does_nothing_and_the_view_says_so() -> None:
    rig = Rig(msgspec.structs.replace(fleet(), automation=Settings(off=("gmail.unusual-rate", "default.too-fast"))))
    await rig.hear(times=9)
    assert rig.live == {}
    view = await rig.automation.automation(requests.Empty())
    assert {one.name: one.mode for one in view.rules}["gmail.unusual-rate"] == "off"


async def test_too_many_connections_lower_the_connections_alone() -> None:
    rig = Rig()
    reply = SmtpReply(code=421, text="too many sessions")
    await rig.hear(reply, Category.CONNECTION_LIMIT, times=3)
    assert rig.live == {"cell:gmail/mkt-1 provider_connections": "2"}


async def test_a_message_with_many_recipients_is_one_match() -> None:
    rig = Rig()
    queue = SimpleNamespace(site=GMAIL_SITE, vmta=MKT_1)
    verdict = Verdict(category=Category.RATE_LIMIT, action=Action.BACKOFF, scope=Scope.IP, rule="x")
    for hits in (1, 2):
        item = SimpleNamespace(first=SimpleNamespace(stream="news"), hits=hits)
        for _ in range(9):
            reply = msgspec.structs.replace(TOO_FAST)
            rig.automation.observe(verdict, reply, cast(ReadyQueue, queue), cast(Item, item))
        assert rig.automation.watch.hits["gmail.unusual-rate"] == hits


async def test_a_connection_wish_is_no_reason_to_slow_down() -> None:
    rig = Rig()
    reply = SmtpReply(code=421, text="Max message per connection reached, closing transmission channel")
    await rig.hear(reply, Category.CONNECTION_LIMIT, UNKNOWN_SITE, times=20)
    assert rig.live == {}


async def test_a_full_ledger_changes_nothing_and_later_steps_work() -> None:
    rig = Rig()
    rig.bench.ledger.full = True
    with pytest.raises(Exception, match="no space left"):
        await rig.hear(times=2)
    assert rig.live == {}
    rig.bench.ledger.full = False
    await rig.wait(timedelta(minutes=2))
    await rig.hear(times=2)
    assert len(rig.live) == 2


EVENTS = st.lists(st.tuples(st.sampled_from(["hear", "wait", "cancel"]), st.integers(1, 90)), max_size=40)


@settings(deadline=None, max_examples=60)
@given(events=EVENTS, connections=st.integers(1, 40), sending=st.integers(0, 5000))
async def test_never_above_the_configuration_nor_below_the_floor_and_always_back(
    events: list[tuple[str, int]], connections: int, sending: int
) -> None:
    provider = Provider(connections=connections, provider_connections=connections)
    rig = Rig(fleet(gmail=provider), sending_1m=sending)
    configured = rig.table.limits(GMAIL_SITE)
    for n, (what, amount) in enumerate(events):
        if what == "hear":
            await rig.hear(times=amount)
        elif what == "wait":
            await rig.wait(timedelta(minutes=amount))
        elif rig.bench.control.state.directives:
            one = rig.bench.control.state.directives[0]
            await rig.bench.control.cancel(requests.Cancel(op_id=OpId(f"c{n}"), directive=one.id), ALICE)
        now = rig.limits()
        assert now.provider_connections.value is not None
        assert 1 <= now.provider_connections.value <= connections
        if now.provider_rate.value is not None:
            assert now.provider_rate.value.interval_s <= 60
        check(rig)
    await rig.wait(MAX_LIFE)
    assert rig.live == {}
    assert rig.limits() == configured


def check(rig: Rig) -> None:
    for one in rig.bench.control.state.directives:
        assert one.expires_at is not None
        assert one.expires_at - one.created_at <= MAX_LIFE
        assert one.rule
        assert one.reply
        if one.base:
            assert not strictly_above(one)


def strictly_above(one: Directive) -> bool:
    value, base = parse_limit(one.limit, one.value), parse_limit(one.limit, one.base)
    if isinstance(value, Rate) and isinstance(base, Rate):
        return value.interval_s < base.interval_s
    assert isinstance(value, int)
    assert isinstance(base, int)
    return value > base


@given(count=st.integers(1, 10**6), period=st.sampled_from([1, 60, 3600]))
def test_halving_ends_at_the_floor_and_raising_at_the_base(count: int, period: int) -> None:
    base = Rate(count=count, period_s=period)
    value: int | Rate = base
    for _ in range(40):
        value = halved(value)
    assert isinstance(value, Rate)
    assert value.interval_s == max(60.0, base.interval_s)
    steps = 0
    now: int | Rate | None = value
    while now is not None:
        now = raised(now, base)
        steps += 1
    assert steps <= 10


def test_a_step_keeps_the_unit_of_what_it_lowers_where_it_can() -> None:
    base = Rate(count=100, period_s=1)
    steps = [halved(base), halved(halved(base)), quarter(halved(base)), raised(Rate(count=1500, period_s=60), base)]
    assert [str(step) for step in steps] == ["50/s", "25/s", "750/m", "50/s"]
    assert str(halved(Rate(count=120, period_s=60))) == "60/m"


@given(times=st.lists(st.floats(0, 3600), min_size=1, max_size=30), n=st.integers(1, 10))
def test_a_threshold_needs_so_many_within_its_period(times: list[float], n: int) -> None:
    matches = Matches()
    recent: list[float] = []
    for now in sorted(times):
        recent = [one for one in recent if now - one <= 600] + [now]
        fired = matches.add(now, 0, Rate(count=n, period_s=600), None)
        assert fired == (len(recent) >= n)
        if fired:
            recent = []


def test_every_shipped_rule_is_reached_by_its_example() -> None:
    config = fleet()
    book = RuleBook(config)
    for provider, block in shipped_providers().items():
        for name, rule in block.rules.items():
            if not rule.example:
                assert rule.categories
                continue
            code, _, text = rule.example.partition(" ")
            enhanced = re.match(r"\d\.\d+\.\d+", text)
            reply = SmtpReply(
                code=int(code),
                enhanced=enhanced[0] if enhanced else "",
                text=text[enhanced.end() + 1 :] if enhanced else text,
            )
            found = book.find(provider, reply, Category.OTHER)
            assert found is not None
            assert found.name == f"{provider}.{name}"


def test_own_rules_go_before_the_shipped_ones_of_their_provider() -> None:
    own = Provider(rules={"ours": Rule(text="rate", act=RuleAct.SUSPEND, scope=RuleScope.VMTA)})
    config = fleet(gmail=own)
    found = RuleBook(config).find(GMAIL, TOO_FAST, Category.RATE_LIMIT)
    assert isinstance(found, NamedRule)
    assert found.name == "gmail.ours"
    assert set(config.providers[GMAIL].rules) > {"ours", "unusual-rate"}
    assert Verdict(category=Category.OTHER, action=Action.NONE, scope=Scope.IP, rule="x").rule == "x"


def test_a_directive_of_automation_survives_the_wire() -> None:
    made = Directive(
        id=DirectiveId("auto-1-1"),
        kind=DirectiveKind.LIMIT,
        target=target("cell:gmail/mkt-1"),
        author=AUTHOR,
        reason="",
        created_at=Bench().now,
        expires_at=None,
        op_id=OpId("auto-1"),
        rule="gmail.unusual-rate",
        base="5",
    )
    assert msgspec.json.decode(msgspec.json.encode(made), type=Directive) == made
