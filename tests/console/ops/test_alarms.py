"""Alarms: raised by trouble, ended by whoever deals with it, each with the act that helps."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from mailagent.api import codec
from mailagent.api.directives import DirectiveKind
from mailagent.api.reasons import ReasonKind, WaitReason
from mailagent.api.reputation import Fault, Faults, IdentityKind, Listing, Weight, matters
from mailagent.api.smtp import SmtpReply
from mailagent.api.views import Deferring, DestinationView, EngineState, Flow, MemberState
from mailctl.fleet.state import FleetState, HostState, LinkState
from mailctl.ops.alarms import Lookout, alarms
from mailctl.ops.findings import Finding, Trouble, findings
from mailctl.ops.plan import Verb
from tests.console.tui.doubles import BUSY, NOW, THROTTLE, asleep, healthy, host_state, mixed, order, snapshot, troubled

QUIET = FleetState(hosts=tuple(host_state(index, snapshot=snapshot(index)) for index in range(3)))
FAILING = Flow(delivered_1m=4, deferred_1m=30)
BOUNCING = Flow(delivered_1m=4, bounced_1m=30)


def with_cells(state: FleetState, provider: str, vmtas: tuple[str, ...], **changed: Any) -> FleetState:
    """`state` with those cells changed."""

    def change(host: HostState) -> HostState:
        assert host.snapshot is not None
        cells: list[DestinationView] = [
            msgspec.structs.replace(cell, **changed) if cell.provider == provider and cell.vmta in vmtas else cell
            for cell in host.snapshot.destinations
        ]
        return replace(host, snapshot=msgspec.structs.replace(host.snapshot, destinations=tuple(cells)))

    return replace(state, hosts=tuple(map(change, state.hosts)))


def with_host(fleet: FleetState, **changed: Any) -> FleetState:
    """`fleet` with the figures of mx1 changed."""
    first, *others = fleet.hosts
    assert first.snapshot is not None
    view = msgspec.structs.replace(first.snapshot.host, **changed)
    return replace(fleet, hosts=(replace(first, snapshot=msgspec.structs.replace(first.snapshot, host=view)), *others))


def test_a_fleet_that_is_well_has_no_alarm() -> None:
    assert alarms(QUIET) == ()
    assert alarms(asleep()) == ()


def test_one_throttled_address_is_rotated_to_its_standby() -> None:
    (alarm,) = alarms(healthy())
    assert (alarm.trouble, alarm.text, alarm.cells) == (Trouble.THROTTLED, "gmail throttles mkt-1", ("gmail/mkt-1",))
    assert alarm.waiting == 1598
    assert alarm.evidence.startswith("421 4.7.28 Gmail has detected")
    assert alarm.command == "mailctl rotate vmta:mkt-1"


def test_an_address_that_is_no_longer_used_raises_none() -> None:
    (alarm,) = alarms(troubled())  # mkt-1 is rotated away, its counters still show the minute before
    assert (alarm.trouble, alarm.text, alarm.hosts) == (Trouble.LOST, "mx2 does not answer", ("mx2",))
    assert (alarm.verb, alarm.command) == (None, "")
    assert alarm.evidence == "connection refused by 192.0.2.2 port 22"


def test_without_standby_the_path_is_suspended() -> None:
    state = with_cells(QUIET, "gmail", ("mkt-1",), flow=FAILING, last_reply=THROTTLE)
    first, *others = state.hosts
    assert first.snapshot is not None
    active = tuple(msgspec.structs.replace(view, state=MemberState.ACTIVE) for view in first.snapshot.vmtas)
    first = replace(first, snapshot=msgspec.structs.replace(first.snapshot, vmtas=active))
    (alarm,) = alarms(replace(state, hosts=(first, *others)))
    assert alarm.command == "mailctl suspend cell:gmail/mkt-1"
    assert "no standby" in alarm.advice


def test_a_host_is_offered_only_what_its_agent_can() -> None:
    first, *others = with_cells(QUIET, "gmail", ("mkt-1",), flow=FAILING, last_reply=THROTTLE).hosts
    hello = first.hello
    assert hello is not None

    def verb_of(*features: str) -> Verb | None:
        able = replace(first, hello=msgspec.structs.replace(hello, features=features))
        (alarm,) = alarms(FleetState(hosts=(able, *others)))
        return alarm.verb

    assert verb_of("rotate", "suspend") is Verb.ROTATE
    assert verb_of("suspend") is Verb.SUSPEND
    assert verb_of("snapshot") is None


def test_trouble_of_most_addresses_is_one_alarm_that_is_not_about_addresses() -> None:
    vmtas = ("mkt-1", "mkt-3", "mkt-5", "tx-1", "tx-3")
    (alarm,) = alarms(with_cells(QUIET, "outlook", vmtas, flow=FAILING, last_reply=BUSY))
    assert alarm.text == "outlook throttles 5 of 9 addresses"
    assert set(alarm.cells) == {f"outlook/{vmta}" for vmta in vmtas}
    assert alarm.verb is Verb.SUSPEND
    assert alarm.command.split()[2:] == [f"cell:{cell}" for cell in alarm.cells]


def test_trouble_of_all_addresses_suspends_the_provider() -> None:
    vmtas = tuple(f"{stem}-{number}" for stem in ("tx", "mkt", "cold") for number in (1, 3, 5))
    (alarm,) = alarms(with_cells(QUIET, "outlook", vmtas, flow=FAILING, last_reply=BUSY))
    assert alarm.command == "mailctl suspend provider:outlook"


def test_several_throttled_addresses_are_one_alarm_and_blocked_ones_are_when_they_are_most() -> None:
    three = ("mkt-1", "mkt-3", "tx-1")
    (alarm,) = alarms(with_cells(QUIET, "outlook", three, flow=FAILING, last_reply=BUSY))
    assert (alarm.text, alarm.verb) == ("outlook throttles 3 of 9 addresses", Verb.SUSPEND)
    held = alarms(with_cells(QUIET, "outlook", three, binding=rule("suspend outlook.block-list")))
    assert [alarm.verb for alarm in held] == [Verb.ROTATE] * 3


def test_where_most_are_blocked_those_that_automation_cannot_suspend_belong_to_it() -> None:
    blocked = ("mkt-1", "mkt-3", "mkt-5", "tx-1", "tx-3")
    state = with_cells(QUIET, "yahoo", blocked, binding=rule("suspend yahoo.complaints"))
    (alarm,) = alarms(with_cells(state, "yahoo", ("cold-1",), flow=FAILING, last_reply=BUSY))
    assert (alarm.text, alarm.trouble) == ("yahoo blocks 6 of 9 addresses", Trouble.BLOCKED)


def test_trouble_of_few_addresses_is_an_alarm_each() -> None:
    found = alarms(with_cells(QUIET, "outlook", ("mkt-1", "tx-3"), flow=FAILING, last_reply=BUSY))
    assert {alarm.command for alarm in found} == {"mailctl rotate vmta:mkt-1", "mailctl rotate vmta:tx-3"}


def test_mail_that_is_given_up_comes_before_mail_that_waits() -> None:
    state = with_cells(healthy(), "yahoo", ("tx-3",), flow=BOUNCING, last_reply=None)
    assert [alarm.text for alarm in alarms(state)] == ["yahoo refuses mail from tx-3", "gmail throttles mkt-1"]


def rule(value: str) -> WaitReason:
    return WaitReason(kind=ReasonKind.RULE, detail="held", value=value, origin="automation", reply=BUSY)


def test_what_automation_holds_and_lowers_raises_an_alarm_while_mail_waits_for_it() -> None:
    held = with_cells(QUIET, "outlook", ("mkt-3",), binding=rule("suspend outlook.block-list"))
    assert [(one.trouble, one.verb) for one in alarms(held)] == [(Trouble.BLOCKED, Verb.ROTATE)]
    lowered = with_cells(QUIET, "outlook", ("mkt-3",), binding=rule("11/m"), ready=80)
    assert [(one.trouble, one.text) for one in alarms(lowered)] == [(Trouble.THROTTLED, "outlook throttles mkt-3")]
    assert alarms(with_cells(QUIET, "outlook", ("mkt-3",), binding=rule("11/m"), ready=3, deferred=0)) == ()


def test_a_reply_between_two_moments_of_a_lowered_rate_does_not_end_the_alarm() -> None:
    reply = WaitReason(kind=ReasonKind.REPLY, detail="421 4.7.28", value="421", until=NOW, reply=THROTTLE)
    state = with_cells(QUIET, "gmail", ("mkt-1",), binding=reply, ready=400, last_reply=THROTTLE)
    assert alarms(state) == ()  # a reply alone is what mail waits for now and then
    first, *others = state.hosts
    assert first.snapshot is not None
    lowered = order(DirectiveKind.LIMIT, "cell:gmail/mkt-1", author="automation", rule="gmail.unusual-rate")
    lowered_host = replace(first, snapshot=msgspec.structs.replace(first.snapshot, directives=(lowered,)))
    (alarm,) = alarms(replace(state, hosts=(lowered_host, *others)))
    assert (alarm.trouble, alarm.text) == (Trouble.THROTTLED, "gmail throttles mkt-1")


def test_what_a_person_suspended_raises_none() -> None:
    failing = with_cells(QUIET, "gmail", ("mkt-1",), flow=FAILING, last_reply=THROTTLE)
    for target in ("cell:gmail/mkt-1", "provider:gmail", "pool:marketing"):
        first, *others = failing.hosts
        assert first.snapshot is not None
        held = msgspec.structs.replace(first.snapshot, directives=(order(DirectiveKind.SUSPEND, target),))
        assert alarms(replace(failing, hosts=(replace(first, snapshot=held), *others))) == ()
    by_order = WaitReason(kind=ReasonKind.DIRECTIVE, detail="virtual MTA mkt-1 is rotated away")
    assert alarms(with_cells(failing, "gmail", ("mkt-1",), binding=by_order)) == ()


@pytest.mark.parametrize(
    ("kind", "trouble", "text"),
    [
        (ReasonKind.DNS, Trouble.DNS, "DNS does not answer"),
        (ReasonKind.REST, Trouble.UNREACHABLE, "no connection to default from 9 of 9 addresses"),
    ],
)
def test_faults_between_us_and_providers_want_no_verb(kind: ReasonKind, trouble: Trouble, text: str) -> None:
    vmtas = tuple(f"{stem}-{number}" for stem in ("tx", "mkt", "cold") for number in (1, 3, 5))
    state = with_cells(QUIET, "default", vmtas, binding=WaitReason(kind=kind, detail="no answer"))
    if kind is ReasonKind.DNS:
        state = with_cells(state, "yahoo", ("tx-1",), binding=WaitReason(kind=kind, detail="no answer"))
    (alarm,) = alarms(state)
    assert (alarm.trouble, alarm.text, alarm.verb) == (trouble, text, None)
    assert "nothing is lost" in alarm.advice


def test_a_provider_that_takes_its_time_while_mail_piles_up_is_one_and_wants_patience() -> None:
    vmtas = tuple(f"{stem}-{number}" for stem in ("tx", "mkt", "cold") for number in (1, 3, 5))
    slow: dict[str, Any] = {"answer_ms": 3000.0, "usual_ms": 20.0, "ready": 40, "flow": Flow(delivered_1m=70)}
    (alarm,) = alarms(with_cells(QUIET, "outlook", vmtas, **slow))
    assert (alarm.trouble, alarm.text, alarm.verb) == (Trouble.SLOW, "outlook is slow", None)
    assert alarm.evidence.startswith("3 s for an answer, usually 20 ms; ")
    assert "wait" in alarm.advice
    few = with_cells(with_cells(QUIET, "outlook", vmtas, answer_ms=3000.0), "outlook", ("mkt-3",), **slow)
    assert [(one.text, one.cells) for one in alarms(few)] == [("outlook is slow", ("outlook/mkt-3",))]
    paused = WaitReason(kind=ReasonKind.THROTTLE, detail="rate 1/s is used up", until=NOW)
    for well in ({"answer_ms": 900.0}, {"ready": 30}, {"usual_ms": 1100.0}, {"answer_ms": None}, {"binding": paused}):
        assert alarms(with_cells(QUIET, "outlook", vmtas, **{**slow, **well})) == ()


def test_one_address_that_is_kept_waiting_is_rotated() -> None:
    state = with_cells(QUIET, "outlook", ("mkt-1",), answer_ms=12_345.0, ready=400, flow=Flow(delivered_1m=20))
    (alarm,) = alarms(state)
    assert (alarm.text, alarm.command) == ("outlook is slow towards mkt-1", "mailctl rotate vmta:mkt-1")
    assert alarm.evidence.startswith("12 s for an answer; ")


@pytest.mark.parametrize(
    ("code", "text"), [("4.4.3", "DNS does not answer about yahoo"), ("4.4.1", "no connection to yahoo from tx-1")]
)
def test_what_the_sending_engine_says_itself_is_no_throttle(code: str, text: str) -> None:
    own = SmtpReply(code=0, enhanced=code, text="Host or domain name not found. Name service error", local=True)
    (alarm,) = alarms(with_cells(QUIET, "yahoo", ("tx-1",), flow=FAILING, last_reply=own))
    assert (alarm.text, alarm.verb) == (text, None)


def deferring(category: str, reply: SmtpReply) -> Deferring:
    return Deferring(category=category, reply=reply)


def test_what_most_deferrals_are_counts_and_not_the_last_one() -> None:
    full = SmtpReply(code=452, enhanced="4.2.2", text="The recipient's inbox is out of storage space.")
    most = deferring("rate-limit", THROTTLE)
    state = with_cells(QUIET, "gmail", ("mkt-1",), flow=FAILING, last_reply=full, deferring=most)
    (alarm,) = alarms(state)
    assert (alarm.text, alarm.evidence) == ("gmail throttles mkt-1", THROTTLE.line())


def test_a_provider_that_wants_nothing_from_an_address_blocks_it_whether_automation_acts_or_not() -> None:
    listed = SmtpReply(code=550, enhanced="5.7.1", text="part of their network is on our block list (S3150)")
    most = deferring("ip-reputation", listed)
    (alarm,) = alarms(with_cells(QUIET, "outlook", ("mkt-1",), flow=FAILING, last_reply=BUSY, deferring=most))
    assert (alarm.text, alarm.evidence) == ("outlook blocks mkt-1", listed.line())
    every = tuple(f"{stem}-{number}" for stem in ("tx", "mkt", "cold") for number in (1, 3, 5))
    (alarm,) = alarms(with_cells(QUIET, "outlook", every, flow=FAILING, deferring=most))
    assert "automation" not in alarm.advice  # which holds nothing here


def test_a_block_stays_one_after_a_suspension_until_mail_passes_again() -> None:
    after = order(DirectiveKind.LIMIT, "cell:yahoo/mkt-1", author="automation", rule="yahoo.complaints", after=True)

    def seen(**changed: Any) -> list[str]:
        first, *others = with_cells(QUIET, "yahoo", ("mkt-1",), **changed).hosts
        assert first.snapshot is not None
        lowered = replace(first, snapshot=msgspec.structs.replace(first.snapshot, directives=(after,)))
        return [alarm.text for alarm in alarms(FleetState(hosts=(lowered, *others)))]

    limited = rule("15/m")
    for flow in (Flow(), Flow(deferred_1m=4), Flow(delivered_1m=2, deferred_1m=30)):
        assert seen(binding=limited, ready=80, flow=flow, last_reply=THROTTLE) == ["yahoo blocks mkt-1"]
    assert seen(binding=limited, ready=80, flow=Flow(delivered_1m=15), last_reply=THROTTLE) == ["yahoo throttles mkt-1"]
    assert seen(binding=None, ready=0, deferred=0, flow=Flow()) == []


def test_dns_that_fails_is_named_where_no_destination_is_known_yet() -> None:
    servfail = SmtpReply(code=451, enhanced="4.4.3", text="SERVFAIL from 192.0.2.53:53 about MX a.example", local=True)
    by_dns = deferring("dns-temp", servfail)
    (alarm,) = alarms(with_host(QUIET, flow=FAILING, deferring=by_dns))
    assert (alarm.text, alarm.evidence) == ("DNS does not answer on mx1", servfail.line())
    assert alarm.command == "mailctl retry host:mx1"
    (alarm,) = alarms(with_host(QUIET, flow=FAILING, deferring=deferring("greylist", BUSY)))
    assert (alarm.text, alarm.evidence) == ("attempts fail on mx1", BUSY.line())


SERVFAIL = SmtpReply(code=451, enhanced="4.4.3", text="SERVFAIL from 192.0.2.53:53 about MX a.example", local=True)


def test_dns_that_fails_stops_more_than_a_throttle_and_goes_before_it() -> None:
    by_dns = deferring("dns-temp", SERVFAIL)
    found = alarms(with_host(healthy(), flow=FAILING, deferring=by_dns))  # mx1 is throttled too
    assert [alarm.text for alarm in found] == ["DNS does not answer on mx1", "gmail throttles mkt-1"]
    found = alarms(with_cells(healthy(), "yahoo", ("tx-1",), flow=FAILING, last_reply=SERVFAIL))
    assert [alarm.text for alarm in found] == ["DNS does not answer about yahoo", "gmail throttles mkt-1"]


def test_dns_that_fails_is_one_alarm_also_where_destinations_are_known() -> None:
    state = with_host(QUIET, flow=FAILING, deferring=deferring("dns-temp", SERVFAIL))
    binding = WaitReason(kind=ReasonKind.DNS, detail="no answer")
    state = with_cells(state, "yahoo", ("tx-1", "tx-3"), binding=binding, ready=0, deferred=7)  # of mx1 and mx2
    (alarm,) = alarms(state)
    assert (alarm.text, alarm.hosts) == ("DNS does not answer on 2 hosts", ("mx1", "mx2"))
    first = state.hosts[0].view
    assert first is not None
    assert alarm.waiting == first.waiting + 7
    assert alarm.command == "mailctl retry host:mx1 host:mx2"


def test_attempts_that_fail_where_no_place_stands_out_are_one_alarm() -> None:
    (alarm,) = alarms(with_host(QUIET, flow=FAILING))
    assert (alarm.text, alarm.command) == ("attempts fail on mx1", "mailctl retry host:mx1")
    (alarm,) = alarms(with_host(healthy(), flow=FAILING))  # here one does
    assert alarm.text == "gmail throttles mkt-1"


def test_full_mailboxes_are_not_about_us_and_greylisting_is_nothing() -> None:
    full = SmtpReply(code=452, enhanced="4.2.2", text="The recipient's inbox is out of storage space.")
    (alarm,) = alarms(with_cells(QUIET, "gmail", ("mkt-1", "tx-3"), flow=FAILING, last_reply=full))
    assert (alarm.text, alarm.hosts, alarm.verb) == ("mailboxes at gmail are full", ("mx1", "mx2"), None)
    silent = with_cells(QUIET, "gmail", ("mkt-1",), flow=FAILING, last_reply=full)
    silent = with_cells(silent, "gmail", ("mkt-5",), flow=FAILING, last_reply=None)  # what it was told is not known
    (alarm,) = alarms(silent)
    assert (alarm.text, alarm.evidence) == ("mailboxes at gmail are full", full.line())
    assert set(alarm.cells) == {"gmail/mkt-1", "gmail/mkt-5"}
    grey = SmtpReply(code=450, enhanced="4.2.0", text="Recipient address rejected: Greylisted")
    assert alarms(with_cells(QUIET, "default", ("mkt-1",), flow=FAILING, last_reply=grey)) == ()


def test_what_automation_holds_everywhere_a_person_may_hold_longer() -> None:
    vmtas = ("mkt-1", "mkt-3", "mkt-5", "tx-1", "tx-3")
    (alarm,) = alarms(with_cells(QUIET, "yahoo", vmtas, binding=rule("suspend yahoo.complaints")))
    assert (alarm.text, alarm.verb) == ("yahoo blocks 5 of 9 addresses", Verb.SUSPEND)


def test_an_address_that_cannot_be_bound_is_rotated_away() -> None:
    bind = WaitReason(kind=ReasonKind.BIND, detail="10.0.0.13 is not on this host")
    (alarm,) = alarms(with_cells(QUIET, "gmail", ("mkt-1",), binding=bind))
    assert (alarm.text, alarm.evidence, alarm.verb) == ("mkt-1 cannot send", bind.detail, Verb.ROTATE)


def test_a_host_that_takes_no_mail_is_one_unless_somebody_drains_it() -> None:
    full = {"accepting": False, "intake_reason": "the disk has 1.2 GiB left"}
    (alarm,) = alarms(with_host(QUIET, **full))
    assert (alarm.text, alarm.evidence, alarm.verb) == ("mx1 takes no mail", full["intake_reason"], Verb.EVACUATE)
    assert alarms(with_host(QUIET, **full, state=EngineState.DRAINING)) == ()
    (alarm,) = alarms(with_host(QUIET, **full, state=EngineState.FAILED))
    assert (alarm.trouble, alarm.verb) == (Trouble.FAILED, None)


def test_a_host_that_can_store_nothing_is_one() -> None:
    (alarm,) = alarms(with_host(QUIET, stuck="database or disk is full"))
    assert (alarm.trouble, alarm.evidence, alarm.verb) == (Trouble.FAILED, "database or disk is full", None)


def test_a_host_is_looked_through_again_when_it_changed() -> None:
    lookout = Lookout()
    assert lookout.see(QUIET) == ()
    assert len(lookout.see(healthy())) == 1
    lost = replace(QUIET, hosts=(replace(QUIET.hosts[0], state=LinkState.LOST, error="gone"), *QUIET.hosts[1:]))
    assert [one.trouble for one in lookout.see(lost)] == [Trouble.LOST]
    assert lookout.see(QUIET) == ()


def test_a_host_that_only_says_that_it_is_there_is_not_looked_through_again(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []

    def look(host: HostState) -> tuple[Finding, ...]:
        looked.append(host.name)
        return findings(host)

    monkeypatch.setattr("mailctl.ops.alarms.findings", look)
    state, lookout = healthy(), Lookout()
    for seq in (1, 2):
        first, *others = state.hosts
        assert first.snapshot is not None
        alive = replace(first, snapshot=msgspec.structs.replace(first.snapshot, seq=seq, at=codec.now()))
        assert len(lookout.see(replace(state, hosts=(alive, *others)))) == 1
    assert looked == [host.name for host in state.hosts]


def test_a_nearly_full_active_queue_of_a_postfix_is_an_alarm_and_a_window_of_ours_is_none() -> None:
    state = mixed()
    *others, last = state.hosts
    assert last.snapshot is not None
    for active, limit, crowded in ((15_999, 20_000, False), (16_000, 20_000, True), (50_000, 90_000, True)):
        view = msgspec.structs.replace(last.snapshot.host, window=active, window_limit=limit)
        host = replace(last, snapshot=msgspec.structs.replace(last.snapshot, host=view))
        found = [one.trouble for one in Lookout().see(FleetState(hosts=(*others, host)))]
        assert (Trouble.CROWDED in found) is crowded, active
    full = msgspec.structs.replace(last.snapshot.host, window=20_000, engine="mailagent")
    own = replace(last, snapshot=msgspec.structs.replace(last.snapshot, host=full))
    assert Trouble.CROWDED not in [one.trouble for one in Lookout().see(FleetState(hosts=(own,)))]


def test_a_postfix_that_is_stopped_is_not_offered_what_only_our_engine_can() -> None:
    *_, last = mixed().hosts
    assert last.snapshot is not None
    view = msgspec.structs.replace(last.snapshot.host, accepting=False, intake_reason="Postfix is not running")
    host = replace(last, snapshot=msgspec.structs.replace(last.snapshot, host=view))
    [alarm] = [one for one in Lookout().see(FleetState(hosts=(host,))) if one.trouble is Trouble.REFUSING]
    assert (alarm.verb, alarm.evidence) == (None, "Postfix is not running")


def at_fault(kind: IdentityKind, *vmtas: str, pools: tuple[str, ...] = ()) -> FleetState:
    """QUIET, with those of mx1 at fault."""
    fault = Faults(count=1, told=(Fault(kind=kind, domain="", sentence=f"{kind} of it: missing"),))
    first, *others = QUIET.hosts
    assert first.snapshot is not None
    snapshot = msgspec.structs.replace(
        first.snapshot,
        vmtas=tuple(
            msgspec.structs.replace(one, faults=fault) if one.name in vmtas else one for one in first.snapshot.vmtas
        ),
        pools=tuple(
            msgspec.structs.replace(one, faults=fault) if one.name in pools else one for one in first.snapshot.pools
        ),
    )
    return replace(QUIET, hosts=(replace(first, snapshot=snapshot), *others))


def test_an_address_without_a_name_is_rotated_to_a_standby_that_has_one() -> None:
    (alarm,) = alarms(at_fault(IdentityKind.PTR, "mkt-1"))
    assert (alarm.trouble, alarm.text) == (Trouble.UNPROVEN, "mkt-1 has no name that leads back to it")
    assert (alarm.command, alarm.evidence) == ("mailctl rotate vmta:mkt-1", "ptr of it: missing")
    assert QUIET.hosts[0].snapshot is not None
    standbys = [view.name for view in QUIET.hosts[0].snapshot.vmtas if view.state is MemberState.STANDBY]
    assert alarms(at_fault(IdentityKind.PTR, *standbys)) == (), "nobody sends from there"
    (alarm,) = alarms(at_fault(IdentityKind.PTR, "mkt-1", *standbys))
    assert alarm.command == ""
    assert "mailctl identity --now vmta:mkt-1" in alarm.advice


def test_what_many_addresses_lack_is_one_alarm() -> None:
    assert QUIET.hosts[0].snapshot is not None
    active = [view.name for view in QUIET.hosts[0].snapshot.vmtas if view.state is MemberState.ACTIVE]
    (alarm,) = alarms(at_fault(IdentityKind.SPF, *active))
    assert alarm.text == f"{len(active)} addresses are not in the SPF record of what they send"
    assert alarm.command == ""


def test_a_domain_whose_mail_counts_as_forged_is_an_alarm_and_a_policy_that_is_missing_is_none() -> None:
    (alarm,) = alarms(at_fault(IdentityKind.DKIM, pools=("marketing",)))
    assert (alarm.text, alarm.vmta, alarm.pool) == ("marketing: dkim of it: missing", "", "marketing")
    assert alarms(at_fault(IdentityKind.DMARC, pools=("marketing",))) == ()


def listed(weight: Weight, *vmtas: str) -> FleetState:
    """QUIET, with those of mx1 on a list."""
    one = Listing(zone="bl.example", address="192.0.2.7", weight=weight, meaning="trap", since=NOW)
    first, *others = QUIET.hosts
    assert first.snapshot is not None
    views = tuple(
        msgspec.structs.replace(view, listings=(one,)) if view.name in vmtas else view for view in first.snapshot.vmtas
    )
    return replace(
        QUIET, hosts=(replace(first, snapshot=msgspec.structs.replace(first.snapshot, vmtas=views)), *others)
    )


def test_an_address_on_a_list_is_rotated_to_a_standby_that_is_on_none() -> None:
    (alarm,) = alarms(listed(Weight.HIGH, "mkt-1"))
    assert (alarm.trouble, alarm.text) == (Trouble.LISTED, "mkt-1 is on bl.example (trap)")
    assert alarm.command == "mailctl rotate vmta:mkt-1"
    assert alarm.evidence.startswith("192.0.2.7 on bl.example (trap) since ")
    assert QUIET.hosts[0].snapshot is not None
    standbys = [view.name for view in QUIET.hosts[0].snapshot.vmtas if view.state is MemberState.STANDBY]
    (alarm,) = alarms(listed(Weight.HIGH, "mkt-1", *standbys))
    assert alarm.command == ""
    assert "no standby" in alarm.advice


def test_a_standby_on_a_list_that_hardly_anybody_asks_takes_over() -> None:
    state = listed(Weight.HIGH, "mkt-1")
    first, *others = state.hosts
    assert first.snapshot is not None
    hearsay = Listing(zone="hearsay.example", address="192.0.2.8", weight=Weight.INFO, meaning="x", since=NOW)
    views = tuple(
        msgspec.structs.replace(view, listings=(hearsay,)) if view.state is MemberState.STANDBY else view
        for view in first.snapshot.vmtas
    )
    first = replace(first, snapshot=msgspec.structs.replace(first.snapshot, vmtas=views))
    (alarm,) = alarms(replace(state, hosts=(first, *others)))
    assert alarm.command == "mailctl rotate vmta:mkt-1"


def test_several_addresses_on_one_list_are_one_alarm() -> None:
    assert QUIET.hosts[0].snapshot is not None
    active = [view.name for view in QUIET.hosts[0].snapshot.vmtas if view.state is MemberState.ACTIVE]
    assert len(active) > 2
    (alarm,) = alarms(listed(Weight.HIGH, *active))
    assert alarm.text == f"{len(active)} addresses are on bl.example"
    assert (alarm.command, alarm.vmta) == ("", active[0])


def test_one_list_that_has_both_addresses_of_a_virtual_mta_is_one() -> None:
    low = Listing(zone="bl.example", address="192.0.2.7", weight=Weight.LOW, meaning="trap", since=NOW)
    six = msgspec.structs.replace(low, address="2001:db8::7")
    assert not matters((low, six))
    assert matters((low, six, msgspec.structs.replace(low, zone="other.example")))


def test_one_list_that_hardly_anybody_asks_and_addresses_in_reserve_raise_none() -> None:
    assert alarms(listed(Weight.LOW, "mkt-1")) == ()
    assert QUIET.hosts[0].snapshot is not None
    standby = next(view.name for view in QUIET.hosts[0].snapshot.vmtas if view.state is MemberState.STANDBY)
    assert alarms(listed(Weight.HIGH, standby)) == ()
