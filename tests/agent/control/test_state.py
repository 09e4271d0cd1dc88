"""What configuration and directives allow."""

from datetime import timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api.directives import Directive, DirectiveKind
from mailagent.api.ids import PoolName, VmtaName
from mailagent.api.reasons import ReasonKind
from mailagent.api.views import MemberState, PoolState
from mailagent.control.state import HostState, host_state
from tests.agent.control.fleet import (
    COLD,
    COLD_1,
    CONFIG,
    GMAIL,
    MARKETING,
    MKT_1,
    MKT_2,
    MKT_3,
    NEWS,
    NO_PROVIDER,
    RECEIPTS,
    TRANSACTIONAL,
    TX_1,
    TX_2,
    directive,
)

DRAIN, SUSPEND, ROTATE, LIMIT, *_ = DirectiveKind
SITE = "gmail"


def state(*directives: Directive) -> HostState:
    return host_state(CONFIG, directives)


def test_without_directives_active_members_send_and_nothing_is_held() -> None:
    plain = state()
    assert plain.eligible(TRANSACTIONAL) == (TX_1, TX_2)
    assert plain.eligible(MARKETING) == (MKT_1,)
    assert plain.member(MKT_2).state is MemberState.STANDBY
    assert plain.pool(MARKETING).state is PoolState.ACTIVE
    assert plain.queue_block(MARKETING, NEWS, GMAIL) is None
    assert plain.vmta_block(MKT_1, SITE, GMAIL) is None
    assert plain.host_drain is None
    assert plain.limits(MKT_1, GMAIL, SITE) == {}


def test_a_standby_may_not_send() -> None:
    block = state().vmta_block(MKT_2, SITE, GMAIL)
    assert block is not None
    assert block.kind is ReasonKind.NO_SOURCE
    assert "mkt-2 is standby" in block.detail
    assert block.detail.endswith("mail that it tried leaves from mkt-1 when it is due")  # after an undone rotation


def test_a_drained_member_leaves_its_mail_to_the_others() -> None:
    drained = state(directive(DRAIN, "vmta:tx-1"))
    assert drained.eligible(TRANSACTIONAL) == (TX_2,)
    assert drained.member(TX_1).state is MemberState.DRAINING
    assert drained.member(TX_1).reason == "drained by alice: gmail throttles"
    assert drained.pool(TRANSACTIONAL).state is PoolState.ACTIVE
    assert drained.queue_block(TRANSACTIONAL, RECEIPTS, GMAIL) is None
    block = drained.vmta_block(TX_1, SITE, GMAIL)
    assert block is not None
    assert (block.kind, block.key, block.release) == (ReasonKind.DIRECTIVE, "op1-1", "mailctl undrain vmta:tx-1")


def test_what_automation_did_is_a_reason_of_its_own_with_the_reply_that_it_acted_on() -> None:
    by_rule = {"rule": "gmail.unusual-rate", "reply": "421 4.7.28 unusual rate", "author": "automation"}
    held = state(msgspec.structs.replace(directive(SUSPEND, "cell:gmail/tx-1"), **by_rule))
    block = held.vmta_block(TX_1, SITE, GMAIL)
    assert block is not None
    assert (block.kind, block.origin, block.value) == (ReasonKind.RULE, "automation", "suspend gmail.unusual-rate")
    assert block.reply is not None
    assert (block.reply.code, block.reply.text) == (421, "4.7.28 unusual rate")
    lowered = directive(DirectiveKind.LIMIT, "cell:gmail/tx-1", limit="connections", value="1")
    limits = state(msgspec.structs.replace(lowered, **by_rule)).limits(TX_1, GMAIL, SITE)
    limit = limits["connections"].limit
    assert (limit.rule, limit.origin) == ("gmail.unusual-rate", "automation")
    assert limit.reply == block.reply


def test_mail_of_a_pool_whose_last_member_is_drained_waits_for_the_directive() -> None:
    drained = state(directive(DRAIN, "vmta:cold-1"))
    assert drained.eligible(COLD) == ()
    assert drained.pool(COLD).state is PoolState.DRAINING
    block = drained.queue_block(COLD, NEWS, GMAIL)
    assert block is not None
    assert block.kind is ReasonKind.DIRECTIVE


def test_a_drained_pool_sends_from_no_member_and_shows_its_standbys_as_they_are() -> None:
    drained = state(directive(DRAIN, "pool:marketing"))
    assert drained.pool(MARKETING).state is PoolState.DRAINING
    assert drained.eligible(MARKETING) == ()
    assert drained.fit(MARKETING) == (MKT_1,)
    assert drained.member(MKT_1).state is MemberState.DRAINING
    assert drained.member(MKT_2).state is MemberState.STANDBY
    assert drained.vmta_block(MKT_1, SITE, GMAIL) is not None
    assert drained.queue_block(MARKETING, NEWS, NO_PROVIDER) is not None
    assert drained.refuses(MARKETING) is None
    assert drained.eligible(TRANSACTIONAL) == (TX_1, TX_2)


def test_a_pool_drained_with_refuse_refuses_new_mail() -> None:
    assert state(directive(DRAIN, "pool:marketing", refuse=True)).refuses(MARKETING) is not None


def test_a_drained_host_goes_on_sending() -> None:
    drained = state(directive(DRAIN, "host:mx1"))
    assert drained.host_drain is not None
    assert drained.eligible(MARKETING) == (MKT_1,)
    assert state(directive(DRAIN, "host:mx2")).host_drain is None


def test_suspensions_hold_stream_provider_and_queue_each_alone() -> None:
    stream = state(directive(SUSPEND, "stream:news"))
    assert stream.queue_block(MARKETING, NEWS, NO_PROVIDER) is not None
    assert stream.vmta_block(MKT_1, SITE, GMAIL) is None
    provider = state(directive(SUSPEND, "provider:gmail"))
    assert provider.queue_block(MARKETING, NEWS, NO_PROVIDER) is None
    assert provider.queue_block(MARKETING, NEWS, GMAIL) is not None
    assert provider.vmta_block(MKT_1, SITE, GMAIL) is not None
    assert provider.provider(GMAIL).state is PoolState.SUSPENDED
    queue = state(directive(SUSPEND, "queue:gmail/tx-1", lives=timedelta(minutes=30)))
    assert queue.queue_block(TRANSACTIONAL, RECEIPTS, GMAIL) is None
    assert queue.vmta_block(TX_2, SITE, GMAIL) is None
    block = queue.vmta_block(TX_1, SITE, GMAIL)
    assert block is not None
    assert block.until is not None


def test_rotation_swaps_and_ends_quarantined_once_empty() -> None:
    rotated = state(directive(ROTATE, "vmta:mkt-1", standby="mkt-2"))
    assert rotated.eligible(MARKETING) == (MKT_2,)
    assert rotated.member(MKT_1).state is MemberState.DRAINING
    assert rotated.member(MKT_1, empty=True).state is MemberState.QUARANTINED
    assert rotated.member(MKT_2).state is MemberState.ACTIVE
    assert "stands in for mkt-1" in rotated.member(MKT_2).reason
    assert rotated.member(MKT_2, empty=True).state is MemberState.ACTIVE
    assert rotated.pool(MARKETING).state is PoolState.ACTIVE
    assert rotated.vmta_block(MKT_1, SITE, GMAIL) is not None


def test_rotations_chain_in_order_of_their_making() -> None:
    chain = state(
        directive(ROTATE, "vmta:mkt-2", 2, standby="mkt-3"), directive(ROTATE, "vmta:mkt-1", 1, standby="mkt-2")
    )
    assert chain.eligible(MARKETING) == (MKT_3,)
    assert chain.member(MKT_2, empty=True).state is MemberState.QUARANTINED


def test_a_plain_drain_never_ends_in_quarantine() -> None:
    assert state(directive(DRAIN, "vmta:tx-1")).member(TX_1, empty=True).state is MemberState.DRAINING


def test_the_strictest_limit_of_a_path_holds() -> None:
    limited = state(
        directive(LIMIT, "vmta:mkt-1", 1, limit="connections", value="5"),
        directive(LIMIT, "queue:gmail/mkt-1", 2, limit="connections", value="2"),
        directive(LIMIT, "provider:gmail", 3, limit="connections", value="9"),
        directive(LIMIT, "provider:gmail", 4, limit="rate", value="10/m"),
        directive(LIMIT, "vmta:mkt-1", 5, limit="rate", value="1/s"),
    )
    overrides = limited.limits(MKT_1, GMAIL, SITE)
    assert {name: (str(one.value), one.directive.id) for name, one in overrides.items()} == {
        "connections": ("2", "op2-1"),
        "rate": ("10/m", "op4-1"),
    }
    assert limited.limits(TX_1, NO_PROVIDER, SITE) == {}


def test_what_the_configuration_lacks_may_not_send_and_its_directives_do_nothing() -> None:
    odd = state(directive(DRAIN, "vmta:gone"), directive(ROTATE, "vmta:gone", 2, standby="away"))
    assert odd.member(VmtaName("gone")).state is MemberState.RETIRED
    assert odd.vmta_block(VmtaName("gone"), SITE, GMAIL) is not None
    assert odd.queue_block(PoolName("gone"), NEWS, GMAIL) is not None
    assert odd.pool(PoolName("gone")).state is PoolState.EMPTY
    assert odd.eligible(MARKETING) == (MKT_1,)


VMTAS = [MKT_1, MKT_2, MKT_3, TX_1, TX_2, COLD_1]
POOLS = [MARKETING, TRANSACTIONAL, COLD]
any_directive = st.one_of(
    st.tuples(st.sampled_from([DRAIN, SUSPEND]), st.sampled_from([f"vmta:{name}" for name in VMTAS])),
    st.tuples(st.sampled_from([DRAIN, SUSPEND]), st.sampled_from([f"pool:{name}" for name in POOLS])),
    st.tuples(st.just(SUSPEND), st.sampled_from(["provider:gmail", "stream:news", "queue:gmail/tx-1"])),
    st.tuples(st.just(ROTATE), st.sampled_from([f"vmta:{name}" for name in VMTAS]), st.sampled_from(VMTAS)),
)


@given(st.lists(any_directive, max_size=8))
def test_who_may_send_is_neither_held_nor_blocked_and_nobody_else_may(orders: list[tuple[str, ...]]) -> None:
    directives = [
        directive(DirectiveKind(order[0]), order[1], n, standby=order[2] if len(order) > 2 else "")
        for n, order in enumerate(orders)
    ]
    derived = state(*directives)
    held = {one.target.name for one in directives if one.kind in (DRAIN, SUSPEND)}
    for pool in POOLS:
        eligible = derived.eligible(pool)
        assert (derived.queue_block(pool, RECEIPTS, NO_PROVIDER) is None) == bool(eligible)
        for vmta in CONFIG.pools[pool].members:
            sends = vmta in eligible
            assert sends == (derived.member(vmta).state in (MemberState.ACTIVE, MemberState.WARMING))
            assert sends == (derived.vmta_block(vmta, "elsewhere", NO_PROVIDER) is None)
            if sends:
                assert vmta not in held
                assert pool not in held
