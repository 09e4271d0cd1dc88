"""Which verb fits what the cursor stands on, and if none, why: shown in grey, said when pressed. Pure."""

from dataclasses import dataclass

from mailagent.api.directives import DirectiveKind
from mailagent.api.requests import Role
from mailagent.api.targets import TargetKind
from mailagent.api.views import MemberState
from mailagent.api.words import command
from mailctl.fleet.state import FleetState
from mailctl.ops import selector
from mailctl.ops.plan import Verb
from mailctl.ops.selector import Selection, TermKind
from mailctl.tui.text import listed


@dataclass(frozen=True, slots=True)
class Subject:
    """What a verb would act on: objects of one kind, on some hosts (none: all that have them)."""

    kind: TermKind
    names: tuple[str, ...]
    hosts: tuple[str, ...] = ()
    also: tuple[tuple[TermKind, str], ...] = ()  # further terms that narrow a list of messages
    line: str = ""  # what narrows them beside terms: a filter line

    @property
    def selection(self) -> Selection:
        """As operators type it."""
        base = (
            selector.of(TermKind.HOST, self.names)
            if self.kind is TermKind.HOST
            else selector.of(self.kind, self.names, self.hosts)
        )
        return Selection(tuple(dict.fromkeys(base.terms + self.also)))


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verb that a key means here, or why it means none."""

    verb: Verb | None
    why_not: str = ""


_DRAINABLE = (TermKind.HOST, TermKind.POOL, TermKind.VMTA)
_SUSPENDABLE = (
    TermKind.VMTA,
    TermKind.POOL,
    TermKind.PROVIDER,
    TermKind.QUEUE,
    TermKind.CELL,
    TermKind.STREAM,
    TermKind.JOB,
)
_LIMITABLE = (TermKind.VMTA, TermKind.PROVIDER, TermKind.QUEUE, TermKind.CELL)


def verdict(verb: Verb, subject: Subject | None, state: FleetState) -> Verdict:
    """What `verb` means for `subject`; RESUME stands for ending whatever holds it."""
    if subject is None or not subject.names:
        return Verdict(None, f"nothing to {verb.words.rpartition(' ')[2]} here")
    if why := _role(subject, state):
        return Verdict(None, why)
    if verb is not Verb.RESUME and (why := _lacking(verb, subject, state)):
        return Verdict(None, why)
    names = listed(subject.names)
    match verb:
        case Verb.DRAIN if subject.kind not in _DRAINABLE:
            return Verdict(None, f"a {subject.kind} cannot be drained; hosts, pools and virtual MTAs can")
        case Verb.SUSPEND if subject.kind not in _SUSPENDABLE:
            return Verdict(None, f"a {subject.kind} cannot be suspended; drain it instead")
        case Verb.PROBE if subject.kind not in (TermKind.QUEUE, TermKind.CELL):
            return Verdict(None, "probe takes a path: choose one row of Destinations (3)")
        case Verb.PROBE if len(subject.names) > 1:
            return Verdict(None, "one path at a time is probed")
        case Verb.LIMIT if subject.kind not in _LIMITABLE:
            return Verdict(None, f"a {subject.kind} has no limits; choose a virtual MTA, or a row of Destinations (3)")
        case Verb.ROTATE:
            return _rotation(subject, state)
        case Verb.DRAIN | Verb.SUSPEND:
            kind = DirectiveKind.DRAIN if verb is Verb.DRAIN else DirectiveKind.SUSPEND
            if _held(subject, state, kind, by_people=True) == set(subject.names):
                return Verdict(None, f"{names}: already {'drained' if verb is Verb.DRAIN else 'suspended'}; E ends it")
        case Verb.RESUME:
            if _held(subject, state, DirectiveKind.SUSPEND):
                return Verdict(Verb.RESUME)
            if _held(subject, state, DirectiveKind.DRAIN):
                return Verdict(Verb.UNDRAIN)
            if _held(subject, state, DirectiveKind.ROTATE):
                return Verdict(None, f"{names}: rotated away; undo the rotation in Operations (6, U)")
            return Verdict(None, f"{names}: neither suspended nor drained")
    return Verdict(verb)


def _role(subject: Subject, state: FleetState) -> str:
    hosts = (
        subject.names if subject.kind is TermKind.HOST else subject.hosts or tuple(host.name for host in state.hosts)
    )
    known = [host for name in hosts if (host := state.host(name)) is not None]
    if not any(host.state.is_fresh for host in known):
        return f"no answer from {listed([host.name for host in known])}: verbs need a live host"
    roles = {host.hello.role for host in known if host.hello is not None}
    return "your role is viewer: looking only" if roles == {Role.VIEWER} else ""


def _lacking(verb: Verb, subject: Subject, state: FleetState) -> str:
    """Why no host of the subject can do the verb; empty when one can. The others are refused in its plan."""
    if subject.kind is TermKind.HOST:
        names: tuple[str, ...] = subject.names
    elif subject.kind is TermKind.VMTA:
        names = tuple(row.host for row in state.vmtas if row.view.name in subject.names)
    else:
        names = subject.hosts or tuple(host.name for host in state.hosts)
    first = ""
    for name in names:
        if (host := state.host(name)) is None:
            continue
        if not (why := host.lacks(verb, command(verb, f"{subject.kind}:"))):
            return ""
        first = first or why
    return first


def _held(subject: Subject, state: FleetState, kind: DirectiveKind, *, by_people: bool = False) -> set[str]:
    """Names of the subject that a live directive of `kind` is about; automation's end soon, so they may not count."""
    wanted = {str(subject.kind)}
    return {
        row.directive.target.name
        for row in state.directives
        if row.directive.kind is kind
        and not (by_people and row.directive.rule)
        and row.directive.target.kind in wanted
        and row.directive.target.name in subject.names
        and (not subject.hosts or row.directive.target.kind is TargetKind.HOST or set(row.hosts) & set(subject.hosts))
    }


def _rotation(subject: Subject, state: FleetState) -> Verdict:
    if subject.kind is not TermKind.VMTA:
        return Verdict(None, "rotate takes a virtual MTA: choose one in Pools (2)")
    for row in state.vmtas:
        if row.view.name not in subject.names:
            continue
        if row.view.state is not MemberState.ACTIVE:
            return Verdict(None, f"{row.view.name} is {row.view.state}; rotate takes an active virtual MTA")
        mates = [mate for mate in state.vmtas if mate.host == row.host and mate.view.pool == row.view.pool]
        if not any(mate.view.state is MemberState.STANDBY for mate in mates):
            return Verdict(None, f"pool {row.view.pool} has no standby on {row.host}")
    return Verdict(Verb.ROTATE)
