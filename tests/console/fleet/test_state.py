"""Merging hosts into one state."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from mailagent.api import views
from mailagent.api.directives import Directive, DirectiveKind, DirectiveView, DrainProgress
from mailagent.api.ids import DirectiveId, HostName, OpId
from mailagent.api.mail import MailProgress
from mailagent.api.targets import Target, TargetKind
from mailctl.fleet.state import FleetState, HostState, LinkState, apply_changes, sum_flows
from mailctl.fleet.watch import RETRY_FIRST_S, RETRY_MAX_S, retry_wait_s
from tests.console.loopback import START, LoopbackAgent

counts = st.lists(st.integers(0, 1000), max_size=views.RECENT_BUCKETS).map(tuple)


def host(number: int, state: LinkState = LinkState.LIVE) -> HostState:
    agent = LoopbackAgent(f"mx{number + 1}", number, Path("/nowhere"))
    return HostState(name=HostName(agent.name), state=state, age_s=0.1, snapshot=agent.snapshot())


@given(st.lists(counts, max_size=5))
def test_summed_flows_align_at_the_newest_end(recents: list[tuple[int, ...]]) -> None:
    total = sum_flows(views.Flow(recent=recent, delivered=sum(recent)) for recent in recents)
    assert sum(total.recent) == total.delivered == sum(map(sum, recents))
    if total.recent:
        assert total.recent[-1] == sum(recent[-1] for recent in recents if recent)


@given(failures=st.integers(0, 1000), denied=st.booleans(), jitter=st.floats(0, 1))
def test_reconnecting_waits_between_half_a_second_and_thirty(failures: int, denied: bool, jitter: float) -> None:
    wait_s = retry_wait_s(failures, denied=denied, jitter=jitter)
    assert RETRY_FIRST_S <= wait_s <= RETRY_MAX_S
    if denied:
        assert wait_s >= RETRY_MAX_S / 2


def test_a_lost_host_is_in_no_sum_but_keeps_its_rows() -> None:
    state = FleetState(hosts=(host(0), host(1), host(2, LinkState.LOST)))
    assert state.totals.waiting == 200
    assert str(state.pools[0].hosts) == "2 of 3 hosts"
    assert len(state.pools[0].parts) == 3
    assert {row.link for row in state.vmtas} == {LinkState.LIVE, LinkState.LOST}


def test_a_pool_drained_on_one_host_says_so() -> None:
    drained = host(0)
    assert drained.snapshot is not None
    pools = tuple(
        msgspec.structs.replace(pool, state=views.PoolState.DRAINING, reason="by alice")
        for pool in drained.snapshot.pools
    )
    drained = replace(drained, snapshot=msgspec.structs.replace(drained.snapshot, pools=pools))
    row = FleetState(hosts=(drained, host(1))).pools[0]
    assert row.state is views.PoolState.DRAINING
    assert row.reason == "on 1 of 2 hosts: by alice"


def test_directives_of_one_operation_are_one_row() -> None:
    def draining(number: int, *, empty: bool) -> HostState:
        one = host(number)
        order = Directive(
            id=DirectiveId(f"d{number}"),
            kind=DirectiveKind.DRAIN,
            target=Target(kind=TargetKind.POOL, name="marketing"),
            author="alice",
            reason="",
            created_at=START + timedelta(seconds=number),
            expires_at=None,
            op_id=OpId("op1"),
        )
        progress = DrainProgress(connections=0 if empty else 3, ready=0, in_doubt=0, waiting=5, empty=empty)
        mail = MailProgress(held=5, note="" if empty else "1 message not done")
        view = DirectiveView(directive=order, progress=progress, waiting=5, mail=mail)
        assert one.snapshot is not None
        return replace(one, snapshot=msgspec.structs.replace(one.snapshot, directives=(view,)))

    (row,) = FleetState(hosts=(draining(0, empty=True), draining(1, empty=False))).directives
    assert row.hosts == ("mx1", "mx2")
    assert row.waiting == 10
    assert row.note == "mx2: 1 message not done"
    assert row.progress is not None
    assert row.progress.connections == 3
    assert not row.progress.empty


@given(st.permutations(["marketing", "cold", "transactional"]), st.integers(0, 3))
def test_changes_keep_other_rows_and_drop_gone_ones(names: list[str], changed: int) -> None:
    base = host(0).snapshot
    assert base is not None
    rows = {pool.name: pool for pool in base.pools}
    new = tuple(msgspec.structs.replace(pool, waiting=999) for pool in rows.values() if pool.name in names[:changed])
    gone = tuple(f"pools:{name}" for name in names[changed:][:1])
    after = apply_changes(base, views.Changes(seq=base.seq + 1, at=START, pools=new, gone=gone))
    assert {pool.name for pool in after.pools} == set(names) - {name.removeprefix("pools:") for name in gone}
    assert {pool.name for pool in after.pools if pool.waiting == 999} == set(names[:changed])
    assert after.vmtas == base.vmtas
    assert after.host is base.host
