"""Which verb a key means, and why not."""

from dataclasses import replace

import msgspec
import pytest

from mailagent.api.directives import DirectiveKind
from mailagent.api.requests import Role
from mailctl.fleet.state import FleetState, LinkState
from mailctl.ops.plan import Verb
from mailctl.ops.selector import TermKind
from mailctl.tui.verdicts import Subject, verdict
from tests.console.tui.doubles import healthy, host_state, mixed, order, troubled


def with_order(kind: DirectiveKind, target: str) -> FleetState:
    one = host_state(0)
    assert one.snapshot is not None
    snapshot = msgspec.structs.replace(one.snapshot, directives=(order(kind, target),))
    return FleetState(hosts=(replace(one, snapshot=snapshot), host_state(1), host_state(2)))


def test_an_active_virtual_mta_with_a_standby_can_be_rotated() -> None:
    assert verdict(Verb.ROTATE, Subject(TermKind.VMTA, ("mkt-1",)), healthy()).verb is Verb.ROTATE


def test_a_standby_cannot_be_rotated_and_says_so() -> None:
    answer = verdict(Verb.ROTATE, Subject(TermKind.VMTA, ("mkt-2",)), healthy())
    assert answer.verb is None
    assert "mkt-2 is standby" in answer.why_not


def test_without_a_standby_on_the_host_rotation_names_pool_and_host() -> None:
    state = troubled()  # mkt-2 took over: mx1 has no standby left
    answer = verdict(Verb.ROTATE, Subject(TermKind.VMTA, ("mkt-2",)), state)
    assert answer.why_not == "pool marketing has no standby on mx1"


@pytest.mark.parametrize(("kind", "verb"), [(DirectiveKind.SUSPEND, Verb.RESUME), (DirectiveKind.DRAIN, Verb.UNDRAIN)])
def test_the_resume_key_ends_what_holds_the_target(kind: DirectiveKind, verb: Verb) -> None:
    assert verdict(Verb.RESUME, Subject(TermKind.POOL, ("cold",)), with_order(kind, "pool:cold")).verb is verb


def test_a_drained_pool_is_not_drained_again() -> None:
    answer = verdict(Verb.DRAIN, Subject(TermKind.POOL, ("cold",)), with_order(DirectiveKind.DRAIN, "pool:cold"))
    assert answer.verb is None
    assert "already drained" in answer.why_not


def test_hosts_are_drained_but_not_suspended() -> None:
    hosts = Subject(TermKind.HOST, ("mx1",))
    assert verdict(Verb.DRAIN, hosts, healthy()).verb is Verb.DRAIN
    assert verdict(Verb.SUSPEND, hosts, healthy()).verb is None


def test_a_viewer_is_told_that_looking_is_all() -> None:
    state = FleetState(hosts=tuple(host_state(index, role=Role.VIEWER) for index in range(3)))
    assert "viewer" in verdict(Verb.DRAIN, Subject(TermKind.POOL, ("cold",)), state).why_not


def test_a_lost_host_takes_no_verb() -> None:
    state = FleetState(hosts=(host_state(0, LinkState.LOST),))
    assert "no answer from mx1" in verdict(Verb.DRAIN, Subject(TermKind.HOST, ("mx1",)), state).why_not


def test_nothing_selected_is_no_target() -> None:
    assert verdict(Verb.DRAIN, None, healthy()).verb is None
    assert verdict(Verb.DRAIN, Subject(TermKind.POOL, ()), healthy()).verb is None


def test_a_verb_that_has_nothing_here_is_said_in_words_and_not_by_its_wire_name() -> None:
    assert verdict(Verb.JOB_CANCEL, Subject(TermKind.JOB, ()), healthy()).why_not == "nothing to cancel here"


def test_the_selection_is_what_an_operator_would_type() -> None:
    assert str(Subject(TermKind.POOL, ("cold",), ("mx1",)).selection) == "pool:cold host:mx1"
    assert str(Subject(TermKind.HOST, ("mx1", "mx2")).selection) == "host:mx1 host:mx2"


def test_a_verb_that_no_host_of_the_subject_has_is_grey_and_says_which_engine_lacks_it() -> None:
    why = verdict(Verb.DRAIN, Subject(TermKind.HOST, ("mx3",)), mixed()).why_not
    assert why == "`drain` is not possible with its engine, postfix 3.7.11"
    assert verdict(Verb.SUSPEND, Subject(TermKind.PROVIDER, ("gmail",), ("mx3",)), mixed()).verb is Verb.SUSPEND
    assert verdict(Verb.DRAIN, Subject(TermKind.POOL, ("marketing",)), mixed()).verb is Verb.DRAIN
