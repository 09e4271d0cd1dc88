"""Verbs: guards, idempotency, lifetimes, undo, expiry."""

import asyncio
import contextlib
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailagent.api import requests
from mailagent.api.directives import DirectiveKind, DirectiveState
from mailagent.api.errors import ApiError, GuardRefused, InvalidRequest, NotFound, Refused, StalePlan, Unavailable
from mailagent.api.ids import DirectiveId, OpId, PoolName, VmtaName
from mailagent.api.notes import NoteAdd
from mailagent.api.operations import Impact, OperationResult, Result
from mailagent.api.targets import MessageFilter
from mailagent.api.views import MemberState, PoolState
from mailagent.config.postfix import EngineKind
from mailagent.config.structs import Domain, Endpoint, Pool, Provider, Rate, Route, VirtualMta
from mailagent.config.warm_up import PoolWarmUp
from mailagent.control.change import Change, Situation
from mailagent.control.sizing import sized
from mailagent.control.verbs import AGENT
from mailagent.routing.limits import LIMIT_NAMES, PROVIDER_LIMITS, SITE_LIMITS, PathLimits
from tests.agent.control.bench import ALICE, BOB, Bench
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
    TRANSACTIONAL,
    TX_1,
    TX_2,
    target,
)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def drain(on: str, op: str = "op1", **more: Any) -> requests.Drain:
    return requests.Drain(op_id=OpId(op), target=target(on), **more)


def suspend(on: str, op: str = "op1", **more: Any) -> requests.Suspend:
    return requests.Suspend(op_id=OpId(op), target=target(on), **more)


async def test_a_whole_site_is_held_by_suspend_and_resume_alone(bench: Bench) -> None:
    held = await bench.control.suspend(suspend("queue:gmail/"), ALICE)
    assert held.detail.startswith("site gmail holds its mail until ")
    assert all(bench.control.state.vmta_block(vmta, "gmail", GMAIL) for vmta in (MKT_1, TX_1))
    assert bench.control.state.vmta_block(MKT_1, "other", GMAIL) is None
    with pytest.raises(InvalidRequest, match="write site/vmta"):
        await bench.control.limit(
            requests.Limit(op_id=OpId("op2"), target=target("queue:gmail/"), limit="connections", value="1"), ALICE
        )
    site = requests.Suspend(op_id=OpId("op3"), target=target("queue:gmial/"))
    change = sized(Change(detail=""), site, Impact())
    assert change.warnings == ("no mail for site gmial is known to wait here now; mailctl queues names sites",)
    assert sized(Change(detail=""), site, Impact(messages=1)).warnings == ()


def rotate(on: str, op: str = "op1", **more: Any) -> requests.Rotate:
    return requests.Rotate(op_id=OpId(op), target=target(on), **more)


def undo(undoes: str, op: str, **more: Any) -> requests.Undo:
    return requests.Undo(op_id=OpId(op), undoes=OpId(undoes), **more)


async def test_a_drain_is_on_disk_and_in_effect_with_author_reason_and_no_end(bench: Bench) -> None:
    result = await bench.control.drain(drain("pool:marketing", reason="gmail throttles"), ALICE)
    assert result.result is Result.APPLIED
    assert result.undoable
    assert result.impact.messages == 7
    (made,) = result.directives
    assert (made.author, made.reason, made.expires_at, made.op_id) == ("alice", "gmail throttles", None, "op1")
    assert bench.ledger.kept[made.id] == made
    assert bench.flow.applied[-1].pool(MARKETING).state is PoolState.DRAINING


async def test_a_dry_run_says_the_same_and_changes_nothing(bench: Bench) -> None:
    planned = await bench.control.drain(drain("pool:marketing", dry_run=True), ALICE)
    assert planned.result is Result.PLANNED
    assert planned.directives
    assert not bench.ledger.entries
    assert not bench.flow.applied
    applied = await bench.control.drain(drain("pool:marketing"), ALICE)
    assert applied.detail == planned.detail
    assert applied.generation == planned.generation + 1


async def test_the_same_op_id_is_answered_from_the_log_and_another_body_refused(bench: Bench) -> None:
    first = await bench.control.drain(drain("vmta:tx-1"), ALICE)
    bench.later(minutes=1)
    assert await bench.control.drain(drain("vmta:tx-1"), ALICE) == first
    assert len(bench.ledger.entries) == 1
    with pytest.raises(InvalidRequest, match="op1 stands for another request"):
        await bench.control.drain(drain("vmta:tx-2"), ALICE)
    with pytest.raises(InvalidRequest):
        await bench.control.suspend(suspend("vmta:tx-1"), ALICE)


async def test_draining_what_is_drained_is_nothing_to_do_and_recorded_as_such(bench: Bench) -> None:
    await bench.control.drain(drain("vmta:tx-1"), ALICE)
    again = await bench.control.drain(drain("vmta:tx-1", "op2"), BOB)
    assert again.result is Result.NOTHING_TO_DO
    assert "already drained by alice" in again.detail
    assert not again.undoable
    assert [entry.operation.record.result for entry in bench.ledger.entries] == [Result.APPLIED, Result.NOTHING_TO_DO]


async def test_the_last_eligible_ip_of_a_pool_is_kept_unless_overridden_with_a_reason(bench: Bench) -> None:
    with pytest.raises(GuardRefused, match="no eligible IP of pool cold would be left on mx1"):
        await bench.control.drain(drain("vmta:cold-1"), ALICE)
    with pytest.raises(GuardRefused, match="rotate puts mkt-2 in its place"):
        await bench.control.suspend(suspend("vmta:mkt-1"), ALICE)
    with pytest.raises(InvalidRequest, match="reason"):
        await bench.control.drain(drain("vmta:cold-1", override=True), ALICE)
    result = await bench.control.drain(drain("vmta:cold-1", override=True, reason="listed"), ALICE)
    assert result.warnings == ("overridden: no eligible IP of pool cold would be left on mx1",)
    await bench.control.drain(drain("vmta:tx-1", "op2"), ALICE)
    with pytest.raises(GuardRefused):
        await bench.control.suspend(suspend("vmta:tx-2", "op3"), ALICE)


async def test_members_that_are_warming_do_not_carry_a_pool() -> None:
    warming = Pool(active=(MKT_1,), warming=(MKT_2, MKT_3))
    bench = Bench(msgspec.structs.replace(CONFIG, pools=CONFIG.pools | {MARKETING: warming}))
    said = "what is left of pool marketing on mx1 is warming and cannot carry it: mkt-2, mkt-3"
    with pytest.raises(GuardRefused, match=said):
        await bench.control.drain(drain("vmta:mkt-1"), ALICE)
    await bench.control.drain(drain("vmta:mkt-2", "op2"), ALICE)
    free = msgspec.structs.replace(warming, warm_up=PoolWarmUp(enabled=False))
    bench = Bench(msgspec.structs.replace(CONFIG, pools=CONFIG.pools | {MARKETING: free}))
    await bench.control.drain(drain("vmta:mkt-1"), ALICE)


async def test_on_a_postfix_nothing_keeps_warming_members_small() -> None:
    pools = CONFIG.pools | {MARKETING: Pool(active=(MKT_1,), warming=(MKT_2,))}
    bench = Bench(msgspec.structs.replace(CONFIG, pools=pools, engine=EngineKind.POSTFIX))
    await bench.control.drain(drain("vmta:mkt-1"), ALICE)


async def test_drains_of_pool_and_host_state_their_intent_and_are_not_guarded(bench: Bench) -> None:
    await bench.control.drain(drain("pool:cold", refuse=True), ALICE)
    await bench.control.drain(drain("host:mx1", "op2"), ALICE)
    state = bench.flow.applied[-1]
    assert state.refuses(COLD) is not None
    assert state.host_drain is not None


async def test_lifetimes_default_by_kind_and_long_suspensions_want_an_override(bench: Bench) -> None:
    (held,) = (await bench.control.suspend(suspend("provider:gmail"), ALICE)).directives
    assert held.expires_at == bench.now + timedelta(minutes=30)
    limit = requests.Limit(op_id=OpId("op2"), target=target("vmta:tx-1"), limit="connections", value="2")
    (lowered,) = (await bench.control.limit(limit, ALICE)).directives
    assert lowered.expires_at == bench.now + timedelta(hours=4)
    with pytest.raises(GuardRefused, match="24 h at most, 1d1h is asked"):
        await bench.control.suspend(suspend("stream:news", "op3", ttl_s=90_000), ALICE)
    long = suspend("stream:news", "op3", ttl_s=90_000, override=True, reason="weekend")
    assert (await bench.control.suspend(long, ALICE)).result is Result.APPLIED


async def test_a_suspension_with_another_end_replaces_the_first_and_undo_brings_that_back(bench: Bench) -> None:
    await bench.control.suspend(suspend("provider:gmail"), ALICE)
    bench.later(minutes=10)
    second = await bench.control.suspend(suspend("provider:gmail", "op2", ttl_s=7200), BOB)
    assert [one.state for one in second.directives] == [DirectiveState.LIVE, DirectiveState.CANCELLED]
    assert [one.expires_at for one in bench.control.state.directives] == [bench.now + timedelta(hours=2)]
    bench.later(minutes=5)
    await bench.control.undo(undo("op2", "op3"), BOB)
    (left,) = bench.control.state.directives
    assert left.expires_at == bench.now + timedelta(minutes=20)  # what was left when it was replaced
    assert left.author == "bob"


async def test_a_person_takes_a_suspension_of_automation_over(bench: Bench) -> None:
    gmail = target("provider:gmail")

    def hold(at: Situation) -> Change:
        asked = suspend("provider:gmail", "auto-1", ttl_s=60)
        made = msgspec.structs.replace(at.directive(DirectiveKind.SUSPEND, gmail, asked), rule="gmail.complaints")
        return Change(target=gmail, detail="", created=(made,))

    await bench.control.act("suspend", OpId("auto-1"), "automation", hold)
    taken = await bench.control.suspend(suspend("provider:gmail"), ALICE)
    assert taken.result is Result.APPLIED
    (left,) = bench.control.state.directives
    assert (left.author, left.rule, left.expires_at) == ("alice", "", bench.now + timedelta(minutes=30))
    again = await bench.control.suspend(suspend("provider:gmail", "op2"), BOB)
    assert again.result is Result.NOTHING_TO_DO


async def test_undo_ends_what_was_made_and_undo_of_undo_makes_it_again(bench: Bench) -> None:
    await bench.control.drain(drain("pool:marketing", refuse=True, reason="r"), ALICE)
    result = await bench.control.undo(undo("op1", "op2"), BOB)
    assert result.result is Result.APPLIED
    assert bench.control.state.pool(MARKETING).state is PoolState.ACTIVE
    stored = await bench.ledger.stored_operation(OpId("op1"))
    assert stored is not None
    assert stored.record.undone_by == "op2"
    again = await bench.control.undo(undo("op1", "op3"), BOB)
    assert again.result is Result.NOTHING_TO_DO
    assert "undone by op2" in again.detail
    await bench.control.undo(undo("op2", "op4"), ALICE)
    assert bench.control.state.refuses(MARKETING) is not None
    await bench.control.undo(undo("op1", "op5"), BOB)  # its undo is undone, so it can be undone again
    assert bench.control.state.refuses(MARKETING) is None
    assert (await bench.control.undo(undo("op1", "op6"), BOB)).result is Result.NOTHING_TO_DO


async def test_undo_leaves_what_others_ordered_since(bench: Bench) -> None:
    await bench.control.suspend(suspend("provider:gmail"), ALICE)
    await bench.control.resume(requests.Resume(op_id=OpId("op2"), target=target("provider:gmail")), BOB)
    await bench.control.suspend(suspend("provider:gmail", "op3", ttl_s=600), BOB)
    result = await bench.control.undo(undo("op2", "op4"), ALICE)
    assert result.result is Result.NOTHING_TO_DO
    assert "which stays" in result.detail


async def test_undo_of_an_unknown_or_final_operation_is_refused_with_the_reason(bench: Bench) -> None:
    with pytest.raises(NotFound, match="no operation op9"):
        await bench.control.undo(undo("op9", "op2"), ALICE)
    await bench.control.retry(requests.Retry(op_id=OpId("op1"), filter=MessageFilter(provider="gmail")), ALICE)
    with pytest.raises(Refused, match="retry op1 cannot be undone: mail that was tried again cannot be called back"):
        await bench.control.undo(undo("op1", "op2"), ALICE)
    await bench.control.resume(requests.Resume(op_id=OpId("op3"), target=target("provider:gmail")), ALICE)
    with pytest.raises(Refused, match="resume op3 cannot be undone: it changed nothing"):
        await bench.control.undo(undo("op3", "op7"), ALICE)
    await bench.control.suspend(suspend("provider:gmail", "op4"), ALICE)

    def plan(at: Situation) -> Change:
        return Change(target=target("provider:gmail"), detail="done", ended=tuple(at.state.directives), undoable=False)

    await bench.control.act("final", OpId("op5"), "alice", plan)
    with pytest.raises(Refused, match="final op5 cannot be undone: what it did has no way back"):
        await bench.control.undo(undo("op5", "op6"), ALICE)


async def test_a_pause_may_be_made_as_long_as_it_may_be_from_its_start(bench: Bench) -> None:
    (pause,) = (await bench.control.suspend(suspend("job:spring", ttl_s=90_000), ALICE)).directives
    longer = requests.Edit(op_id=OpId("op2"), directive=pause.id, ttl_s=180_000)
    assert (await bench.control.edit(longer, ALICE)).result is Result.APPLIED


async def test_verbs_on_a_job_are_answered_in_their_words(bench: Bench) -> None:
    resume = requests.Resume(op_id=OpId("op1"), target=target("job:spring"))
    assert (await bench.control.resume(resume, ALICE)).detail == "spring is not paused"
    with pytest.raises(Refused, match="job resume op1 cannot be undone: it changed nothing"):
        await bench.control.undo(undo("op1", "op2"), ALICE)
    planned = await bench.control.suspend(suspend("job:spring", "op3", dry_run=True), ALICE)
    await bench.control.suspend(suspend("job:spring", "op4"), BOB)
    assert (await bench.control.undo(undo("op4", "op5"), BOB)).detail.startswith("pause of job:spring (by bob since ")
    stale = suspend("job:spring", "op6", expect=planned.generation)
    with pytest.raises(StalePlan, match=r"has changed since the plan was made \(undo of job:spring by bob"):
        await bench.control.suspend(stale, ALICE)


async def test_a_life_that_is_too_long_is_refused_in_words(bench: Bench) -> None:
    with pytest.raises(InvalidRequest, match=r"^an order lasts 1 s to 366 days, not 86,313,600 s$"):
        await bench.control.drain(drain("vmta:mkt-1", ttl_s=999 * 86_400), ALICE)


async def test_rotation_swaps_makes_old_mail_due_and_undo_swaps_back(bench: Bench) -> None:
    result = await bench.control.rotate(rotate("vmta:mkt-1"), ALICE)
    assert result.detail.startswith("mkt-2 takes the place of mkt-1")
    state = bench.flow.applied[-1]
    assert state.eligible(MARKETING) == (MKT_2,)
    due = bench.ledger.entries[-1].due
    assert due is not None
    assert (due.filter, due.spread) == (MessageFilter(vmta="mkt-1", deferred_only=True), 60_000)
    await bench.control.undo(undo("op1", "op2"), ALICE)
    assert bench.flow.applied[-1].eligible(MARKETING) == (MKT_1,)
    assert bench.flow.applied[-1].member(MKT_2).state is MemberState.STANDBY
    back = bench.ledger.entries[-1].due  # what the standby was told does not hold for the old one
    assert back is not None
    assert (back.filter, back.spread) == (MessageFilter(vmta="mkt-2", deferred_only=True), 60_000)


async def test_rotation_takes_the_first_fit_standby(bench: Bench) -> None:
    bench.flow.unbindable["mkt-2"] = "127.0.0.12 is not an address of this host"
    result = await bench.control.rotate(rotate("vmta:mkt-1"), ALICE)
    assert result.directives[0].standby == "mkt-3"


async def test_rotation_warns_of_what_is_not_known_of_the_standby(bench: Bench) -> None:
    bench.flow.unproven["mkt-2"] = "not looked at"
    result = await bench.control.rotate(rotate("vmta:mkt-1"), ALICE)
    assert result.directives[0].standby == "mkt-2"
    assert result.warnings == ("mkt-2 is not looked at",)


async def test_rotation_is_refused_with_every_fault_when_no_standby_is_fit(bench: Bench) -> None:
    bench.flow.unbindable["mkt-2"] = "127.0.0.12 is not an address of this host"
    await bench.control.suspend(suspend("vmta:mkt-3", "op0"), BOB)
    with pytest.raises(GuardRefused, match=r"mkt-2 cannot be bound: 127.*mkt-3 is suspended by bob"):
        await bench.control.rotate(rotate("vmta:mkt-1"), ALICE)
    forced = await bench.control.rotate(rotate("vmta:mkt-1", override=True, reason="incident 7"), ALICE)
    assert forced.directives[0].standby == "mkt-2"
    assert len(forced.warnings) == 2


@pytest.mark.parametrize(
    ("request_", "kind", "words"),
    [
        (rotate("vmta:tx-1"), Refused, "pool transactional has no standby on mx1"),
        (rotate("vmta:mkt-2"), Refused, "mkt-2 is standby in pool marketing"),
        (rotate("vmta:mkt-1", standby="tx-1"), Refused, "tx-1 is no standby of pool marketing, it is of another pool"),
        (rotate("vmta:mkt-1", standby="mkt-9"), NotFound, "did you mean mkt-"),
        (rotate("vmta:mtk-1"), NotFound, "did you mean mkt-1"),
        (rotate("pool:marketing"), InvalidRequest, "rotate does not act on pool:marketing"),
    ],
)
async def test_a_rotation_that_makes_no_sense_is_refused(
    bench: Bench, request_: requests.Rotate, kind: type[ApiError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        await bench.control.rotate(request_, ALICE)
    assert not bench.ledger.entries


async def test_rotating_what_is_rotated_is_nothing_to_do(bench: Bench) -> None:
    await bench.control.rotate(rotate("vmta:mkt-1"), ALICE)
    again = await bench.control.rotate(rotate("vmta:mkt-1", "op2"), BOB)
    assert again.result is Result.NOTHING_TO_DO
    with pytest.raises(GuardRefused, match="mkt-2 is rotated"):  # it stands in already
        await bench.control.rotate(rotate("vmta:mkt-2", "op3"), BOB)


async def test_a_directive_on_the_old_address_stops_a_rotation(bench: Bench) -> None:
    await bench.control.drain(drain("vmta:mkt-1", override=True, reason="x"), ALICE)
    with pytest.raises(GuardRefused, match="mkt-1 is drained by alice"):
        await bench.control.rotate(rotate("vmta:mkt-1", "op2"), BOB)


async def test_a_stale_plan_is_refused_and_names_who_was_faster(bench: Bench) -> None:
    seen = bench.control.generations.vmta(TX_1)
    await bench.control.drain(drain("vmta:tx-1"), BOB)
    with pytest.raises(
        StalePlan, match=r"vmta:tx-1 has changed since the plan was made \(drain of vmta:tx-1 by bob at 12:00:00"
    ):
        await bench.control.suspend(suspend("vmta:tx-1", "op2", expect=seen), ALICE)
    seen = bench.control.generations.vmta(TX_2)
    assert (
        await bench.control.suspend(suspend("vmta:tx-2", "op3", expect=seen, override=True, reason="both"), ALICE)
    ).result is Result.APPLIED
    pool = bench.control.generations.pool(MARKETING)
    await bench.control.rotate(rotate("vmta:mkt-1", "op4"), ALICE)
    assert bench.control.generations.pool(MARKETING) > pool


async def test_a_reload_makes_every_plan_stale(bench: Bench) -> None:
    seen = bench.control.generations.host
    bench.control.reconfigure(CONFIG, "bob")
    with pytest.raises(StalePlan, match="configuration reloaded by bob"):
        await bench.control.drain(drain("host:mx1", expect=seen), ALICE)


async def test_a_reload_keeps_directives_and_derives_anew(bench: Bench) -> None:
    await bench.control.rotate(rotate("vmta:mkt-1"), ALICE)
    adopted = Pool(active=(MKT_2,), standby=(MKT_3,), quarantined=(MKT_1,))
    pools: dict[PoolName, Pool] = {**CONFIG.pools, MARKETING: adopted}
    state = bench.control.reconfigure(msgspec.structs.replace(CONFIG, pools=pools), "bob")
    assert state.eligible(MARKETING) == (MKT_2,)
    assert state.member(MKT_1).state is MemberState.QUARANTINED
    await bench.control.undo(undo("op1", "op2"), BOB)
    assert bench.control.state.eligible(MARKETING) == (MKT_2,)


async def test_every_limit_can_be_lowered_for_its_targets(bench: Bench) -> None:
    wanted = {
        "vmta:mkt-1": LIMIT_NAMES,
        "provider:gmail": (*SITE_LIMITS, *PROVIDER_LIMITS),
        "cell:gmail/mkt-1": (*SITE_LIMITS, *PROVIDER_LIMITS),
        "queue:gmail/mkt-1": SITE_LIMITS,
    }
    for on, names in wanted.items():
        for name in LIMIT_NAMES:
            value = "1M/s" if name == "bytes_rate" else "1/s" if name.endswith("rate") else "1"
            request = requests.Limit(
                op_id=OpId(f"{on}-{name}".replace("/", ".")), target=target(on), limit=name, value=value
            )
            if name in names:
                await bench.control.limit(request, ALICE)
            else:
                with pytest.raises(InvalidRequest, match="is no limit of a"):
                    await bench.control.limit(request, ALICE)
    overrides = bench.control.state.limits(MKT_1, GMAIL, "gmail")
    lowered = PathLimits().lowered({name: one.limit for name, one in overrides.items()})
    assert all(getattr(lowered, name).value is not None for name in LIMIT_NAMES)


async def test_limits_are_checked_lowered_and_replaced(bench: Bench) -> None:
    def limit(op: str, on: str, name: str, value: str) -> requests.Limit:
        return requests.Limit(op_id=OpId(op), target=target(on), limit=name, value=value)

    await bench.control.limit(limit("op1", "provider:gmail", "rate", "10/s"), ALICE)
    await bench.control.limit(limit("op2", "provider:gmail", "rate", "5/s"), ALICE)
    await bench.control.limit(limit("op3", "provider:gmail", "connections", "3"), ALICE)
    assert sorted(one.value for one in bench.control.state.directives) == ["3", "5/s"]
    for bad in (
        limit("op4", "queue:gmail/tx-1", "provider_rate", "5/s"),
        limit("op4", "vmta:tx-1", "rate", "fast"),
        limit("op4", "vmta:tx-1", "connections", "0"),
        limit("op4", "pool:cold", "connections", "1"),
    ):
        with pytest.raises(InvalidRequest):
            await bench.control.limit(bad, ALICE)


async def test_a_limit_above_the_one_of_automation_leaves_that_in_force_and_says_so(bench: Bench) -> None:
    cell = target("cell:gmail/mkt-1")

    def lower(at: Situation) -> Change:
        asked = requests.Limit(op_id=OpId("auto-1"), target=cell, limit="provider_rate", value="7/m", ttl_s=3600)
        made = at.directive(DirectiveKind.LIMIT, cell, asked)
        ordered = msgspec.structs.replace(made, limit="provider_rate", value="7/m", rule="gmail.unusual-rate")
        return Change(target=cell, detail="", created=(ordered,))

    def limit(op: str, on: str, name: str, value: str) -> requests.Limit:
        return requests.Limit(op_id=OpId(op), target=target(on), limit=name, value=value)

    def in_force() -> str:
        return str(bench.control.state.limits(MKT_1, GMAIL, "gmail")["provider_rate"].value)

    await bench.control.act("limit", OpId("auto-1"), "automation", lower)
    above = await bench.control.limit(limit("op1", "cell:gmail/mkt-1", "provider_rate", "60/m"), ALICE)
    said = "automation holds provider_rate of gmail/mkt-1 at 7/m: that is lower and stays in force"
    assert above.warnings == (said,)
    assert in_force() == "7/m"
    each_site = await bench.control.limit(limit("op2", "cell:gmail/mkt-1", "rate", "10/s"), ALICE)
    assert each_site.warnings[0] == said
    elsewhere = await bench.control.limit(limit("op3", "provider:gmail", "provider_rate", "60/m"), ALICE)
    assert elsewhere.warnings == ()  # it holds for other addresses
    below = await bench.control.limit(limit("op4", "cell:gmail/mkt-1", "provider_rate", "3/m"), ALICE)
    assert below.warnings == ()
    assert in_force() == "3/m"
    assert not [one for one in bench.control.state.directives if one.rule]  # taken over
    await bench.control.undo(undo("op4", "op5"), ALICE)
    assert in_force() == "7/m"


async def test_a_limit_above_the_configured_one_changes_nothing_and_says_so() -> None:
    providers = {GMAIL: Provider(provider_connections=5, rate=Rate(count=100, period_s=1))}
    vmtas = {**CONFIG.virtual_mtas, MKT_1: VirtualMta(vmta_connections=40)}

    async def warnings(on: str, name: str, value: str) -> tuple[str, ...]:
        bench = Bench(msgspec.structs.replace(CONFIG, providers=providers, virtual_mtas=vmtas))
        asked = requests.Limit(op_id=OpId("op1"), target=target(on), limit=name, value=value)
        return (await bench.control.limit(asked, ALICE)).warnings

    said = "providers.gmail.provider_connections is 5: that is lower and stays in force"
    assert await warnings("cell:gmail/mkt-1", "provider_connections", "50") == (said,)
    assert await warnings("provider:gmail", "provider_connections", "6") == (said,)
    assert await warnings("cell:gmail/mkt-1", "connections", "7") == (said,)  # each site within all of them
    assert await warnings("cell:gmail/mkt-1", "provider_connections", "5") == (
        "providers.gmail.provider_connections is 5 already",
    )
    assert await warnings("cell:gmail/mkt-1", "rate", "6001/m") == (
        "providers.gmail.rate is 100/s: that is lower and stays in force",
    )
    assert await warnings("vmta:mkt-1", "vmta_connections", "41") == (
        "virtual_mtas.mkt-1.vmta_connections is 40: that is lower and stays in force",
    )
    assert await warnings("cell:gmail/mkt-1", "provider_connections", "4") == ()
    assert await warnings("vmta:mkt-1", "connections", "7000") == ()  # another one at each provider


async def test_a_limit_of_a_queue_above_the_configured_one_says_so_where_the_file_names_its_site() -> None:
    gmail = Provider(mx=("google.com",), sites={"gmail": ("mx.google.com",)}, provider_connections=5)
    domains = {"slow.example": Domain(connections=2), "a.example": Domain(rollup="shared", connections=7)}
    routes = (Route(match="b.example", to=Endpoint(host="relay.example", port=25), connections=3),)
    file = msgspec.structs.replace(CONFIG, providers={GMAIL: gmail}, domains=domains, routes=routes)

    async def warnings(on: str, name: str, value: str) -> tuple[str, ...]:
        asked = requests.Limit(op_id=OpId("op1"), target=target(on), limit=name, value=value)
        return (await Bench(file).control.limit(asked, ALICE)).warnings

    for site, origin in (
        ("gmail", "providers.gmail.provider_connections is 5"),
        ("slow.example", "domains.slow.example.connections is 2"),
        ("shared", "domains.a.example.connections is 7"),
        ("relay.example:25", "routes[0].connections is 3"),
    ):
        least = int(origin.rpartition(" ")[2])
        assert f"{origin}: that is lower and stays in force" in await warnings(
            f"queue:{site}/mkt-1", "connections", str(least + 1)
        )
        assert await warnings(f"queue:{site}/mkt-1", "connections", str(least - 1)) == ()
    assert await warnings("queue:mx.other.example/mkt-1", "connections", "99") == ()  # whose site it is, MX hosts tell


async def test_a_limit_below_that_of_the_whole_address_is_what_counts(bench: Bench) -> None:
    def limit(op: str, on: str, value: str) -> requests.Limit:
        return requests.Limit(op_id=OpId(op), target=target(on), limit="connections", value=value)

    await bench.control.limit(limit("op1", "vmta:mkt-1", "5"), ALICE)
    assert (await bench.control.limit(limit("op2", "queue:gmail/mkt-1", "2"), ALICE)).warnings == ()
    raised = await bench.control.limit(limit("op3", "queue:gmail/mkt-1", "9"), ALICE)
    assert raised.warnings == ("alice holds connections of mkt-1 at 5: that is lower and stays in force",)
    assert sorted(one.value for one in bench.control.state.directives) == ["5", "9"]  # and not the 2


@pytest.mark.parametrize(("count", "words"), [(1, "1 recipient becomes due"), (12_345, "12,345 recipients become due")])
def test_what_a_retry_touches_reads_well(count: int, words: str) -> None:
    change = Change(detail="")
    request = requests.Retry(op_id=OpId("op1"), filter=MessageFilter())
    assert sized(change, request, Impact(messages=count)).detail == f"{words} within 60 s"


async def test_a_spread_that_is_too_long_is_refused_in_the_words_of_the_command(bench: Bench) -> None:
    request = requests.Retry(op_id=OpId("op1"), filter=MessageFilter(), spread_s=25 * 3600)
    with pytest.raises(InvalidRequest, match=r"over 1d at most \(--spread\), not over 1d1h$"):
        await bench.control.retry(request, ALICE)


async def test_retry_concerns_deferred_mail_only_and_keeps_to_max_affected(bench: Bench) -> None:
    retry = requests.Retry(op_id=OpId("op1"), filter=MessageFilter(provider="gmail"), max_affected=6)
    with pytest.raises(Refused, match="7 recipients match, more than 6"):
        await bench.control.retry(retry, ALICE)
    result = await bench.control.retry(msgspec.structs.replace(retry, max_affected=7), ALICE)
    assert result.detail == "7 recipients become due within 60 s"
    assert not result.undoable
    due = bench.ledger.entries[-1].due
    assert due is not None
    assert due.filter.deferred_only
    bench.flow.size = Impact()
    nothing = await bench.control.retry(msgspec.structs.replace(retry, op_id=OpId("op2")), ALICE)
    assert nothing.result is Result.NOTHING_TO_DO


async def test_cancel_ends_one_directive_by_id(bench: Bench) -> None:
    await bench.control.suspend(suspend("provider:gmail"), ALICE)
    with pytest.raises(NotFound, match="op1-1"):
        await bench.control.cancel(requests.Cancel(op_id=OpId("op2"), directive=DirectiveId("op1-9")), ALICE)
    await bench.control.cancel(requests.Cancel(op_id=OpId("op2"), directive=DirectiveId("op1-1")), BOB)
    assert not bench.control.state.directives
    assert bench.ledger.kept["op1-1"].state is DirectiveState.CANCELLED
    assert bench.ledger.kept["op1-1"].ended_by == "bob"


async def test_undrain_of_what_is_not_drained_says_what_holds_it(bench: Bench) -> None:
    await bench.control.drain(drain("pool:marketing"), ALICE)
    result = await bench.control.undrain(requests.Undrain(op_id=OpId("op2"), target=target("vmta:mkt-1")), ALICE)
    assert result.result is Result.NOTHING_TO_DO
    assert "pool drained by alice" in result.detail


async def test_directives_expire_by_themselves_and_are_logged(bench: Bench) -> None:
    await bench.control.suspend(suspend("provider:gmail"), ALICE)
    await bench.control.expire(bench.now + timedelta(minutes=29))
    assert bench.control.next_expiry == bench.now + timedelta(minutes=30)
    bench.later(minutes=30)
    await bench.control.expire(bench.now)
    assert bench.flow.applied[-1].queue_block(MARKETING, NEWS, GMAIL) is None
    assert not bench.control.state.directives
    assert bench.ledger.kept["op1-1"].state is DirectiveState.EXPIRED
    record = bench.ledger.entries[-1].operation.record
    assert (record.verb, record.author, record.undoable) == ("expire", AGENT, False)


async def test_the_timer_ends_a_directive_when_its_time_comes(bench: Bench) -> None:
    timer = asyncio.create_task(bench.control.run(), name="expiry")
    try:
        await bench.control.suspend(suspend("provider:gmail"), ALICE)
        bench.later(minutes=30)
        await bench.control.drain(drain("vmta:tx-1", "op2"), ALICE)  # each new directive has the timer look again
        async with asyncio.timeout(5):
            while bench.flow.applied[-1].provider(GMAIL).state is PoolState.SUSPENDED:  # noqa: ASYNC110
                await asyncio.sleep(0)
    finally:
        timer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await timer
    assert [one.target.name for one in bench.control.state.directives] == ["tx-1"]


async def test_after_a_restart_the_directives_hold_and_their_operations_can_be_undone(bench: Bench) -> None:
    await bench.control.rotate(rotate("vmta:mkt-1"), ALICE)
    second = Bench()
    second.ledger = bench.ledger
    second.control._ledger = bench.ledger
    state = await second.control.load()
    assert state.eligible(MARKETING) == (MKT_2,)
    await second.control.undo(undo("op1", "op2"), ALICE)
    assert second.control.state.eligible(MARKETING) == (MKT_1,)


async def test_what_the_disk_refuses_is_not_in_effect(bench: Bench) -> None:
    bench.ledger.full = True
    with pytest.raises(Unavailable, match="not in effect: no space left"):
        await bench.control.drain(drain("pool:marketing"), ALICE)
    assert bench.control.state.pool(MARKETING).state is PoolState.ACTIVE
    bench.ledger.full = False
    assert (await bench.control.drain(drain("pool:marketing"), ALICE)).result is Result.APPLIED


@pytest.mark.parametrize(
    "bad",
    [
        drain("pool:marketing", ""),
        drain("pool:marketing", "white space"),
        drain("pool:marketing", reason="x" * 1001),
        drain("pool:marketing", ttl_s=0),
        drain("vmta:tx-1", refuse=True),
        drain("provider:gmail"),
    ],
)
async def test_a_malformed_request_is_refused_before_anything_happens(bench: Bench, bad: requests.Drain) -> None:
    with pytest.raises(InvalidRequest):
        await bench.control.drain(bad, ALICE)
    assert not bench.ledger.entries


async def test_two_at_once_are_done_one_after_the_other(bench: Bench) -> None:
    async with asyncio.TaskGroup() as group:
        one = group.create_task(bench.control.drain(drain("vmta:tx-1", "op1"), ALICE), name="one")
        two = group.create_task(_refused(bench, drain("vmta:tx-2", "op2")), name="two")
    assert one.result().result is Result.APPLIED
    assert isinstance(two.result(), GuardRefused)


async def _refused(bench: Bench, request: requests.Drain) -> Exception | OperationResult:
    try:
        return await bench.control.drain(request, BOB)
    except GuardRefused as exc:
        return exc


_VMTAS = st.sampled_from([MKT_1, MKT_2, MKT_3, TX_1, TX_2, COLD_1])
_ORDERS = st.lists(
    st.one_of(
        st.tuples(st.just(DirectiveKind.DRAIN), _VMTAS.map("vmta:{}".format)),
        st.tuples(st.just(DirectiveKind.DRAIN), st.sampled_from(["pool:cold", "pool:marketing", "host:mx1"])),
        st.tuples(st.just(DirectiveKind.SUSPEND), _VMTAS.map("vmta:{}".format)),
        st.tuples(st.just(DirectiveKind.SUSPEND), st.sampled_from(["provider:gmail", "stream:news", "pool:cold"])),
        st.tuples(st.just(DirectiveKind.ROTATE), _VMTAS.map("vmta:{}".format)),
        st.tuples(st.none(), _VMTAS.map("vmta:{}".format)),  # undrain
    ),
    max_size=6,
)


def _picture(bench: Bench) -> object:
    state = bench.control.state
    return (
        [state.member(VmtaName(name)).state for name in CONFIG.virtual_mtas],
        [state.pool(name).state for name in CONFIG.pools],
        state.queue_block(MARKETING, NEWS, GMAIL) is None,
        state.host_drain is None,
    )


@given(orders=_ORDERS)
@settings(max_examples=60, deadline=None)
def test_undo_restores_what_was_and_no_pool_loses_its_last_ip(orders: list[tuple[Any, str]]) -> None:
    async def play() -> None:
        bench = Bench()
        pictures = [_picture(bench)]
        done = []
        for n, (kind, on) in enumerate(orders):
            op = f"op{n}"
            try:
                match kind:
                    case DirectiveKind.DRAIN:
                        result = await bench.control.drain(drain(on, op), ALICE)
                    case DirectiveKind.SUSPEND:
                        result = await bench.control.suspend(suspend(on, op), ALICE)
                    case DirectiveKind.ROTATE:
                        result = await bench.control.rotate(rotate(on, op), ALICE)
                    case _:
                        undrain = requests.Undrain(op_id=OpId(op), target=target(on))
                        result = await bench.control.undrain(undrain, ALICE)
            except Refused:
                continue
            for pool in CONFIG.pools:
                assert bench.control.state.fit(pool)
            if result.result is Result.APPLIED:
                done.append(op)
                pictures.append(_picture(bench))
        for op in reversed(done):
            assert pictures.pop() == _picture(bench)
            await bench.control.undo(undo(op, f"undo-{op}", override=True, reason="test"), BOB)
        assert pictures == [_picture(bench)]
        assert bench.control.state.queue_block(TRANSACTIONAL, NEWS, NO_PROVIDER) is None

    asyncio.run(play())


async def test_a_note_stands_with_owner_and_end_and_touches_nothing(bench: Bench) -> None:
    before = bench.control.generations.of(target("host:mx1"))
    request = NoteAdd(op_id=OpId("op1"), text=" ticket 4711 ", ttl_s=3600)
    result = await bench.control.note_add(request, ALICE)
    (made,) = result.directives
    assert (made.kind, made.author, made.reason) == (DirectiveKind.NOTE, "alice", "ticket 4711")
    assert made.expires_at == made.created_at + timedelta(hours=1)
    assert result.impact == Impact()
    assert bench.control.generations.of(target("host:mx1")) == before
    assert bench.control.state.host_drain is None
    assert (await bench.control.undo(undo("op1", "op2"), ALICE)).result is Result.APPLIED
    assert bench.control.state.directives == ()


@pytest.mark.parametrize("text", ["", "  ", "x" * 501])
async def test_a_note_has_words_and_not_too_many(bench: Bench, text: str) -> None:
    with pytest.raises(InvalidRequest, match="1 to 500"):
        await bench.control.note_add(NoteAdd(op_id=OpId("op1"), text=text), ALICE)


async def test_what_happens_to_the_host_is_among_its_operations_and_no_disk_is_needed(bench: Bench) -> None:
    await bench.control.note("start", AGENT, "version 1")
    [record] = (await bench.ledger.operations("", 10)).rows
    assert (record.verb, record.author, record.detail, record.undoable) == ("start", AGENT, "version 1", False)
    bench.ledger.full = True
    await bench.control.note("stop", AGENT, "3 waiting")


async def test_a_hosts_own_least_number_of_members_is_kept() -> None:
    pools = CONFIG.pools | {TRANSACTIONAL: Pool(active=(TX_1, TX_2), min_active=2)}
    bench = Bench(msgspec.structs.replace(CONFIG, pools=pools))
    with pytest.raises(GuardRefused, match="pool transactional would have 1 on mx1, its min_active is 2"):
        await bench.control.drain(drain("vmta:tx-1"), ALICE)
