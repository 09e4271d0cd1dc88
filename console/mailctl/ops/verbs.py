"""Every verb, once: plan it (with the agents' dry run), execute the plan, report.

plan(...) -> Plan -- somebody confirms --> execute(fleet, plan) -> Report
"""

import asyncio
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import msgspec

from mailagent.api import dkim, jobs, requests, suppression
from mailagent.api import mail as wire_mail
from mailagent.api.errors import ApiError, GuardRefused, Locked, Refused, RoleRefused, StalePlan
from mailagent.api.ids import DirectiveId, HostName, OpId
from mailagent.api.operations import OperationRecord, OperationResult, Result
from mailagent.api.targets import TargetKind
from mailagent.config.scalars import parse_limit
from mailctl.fleet import Fleet, LinkError
from mailctl.fleet.errors import LinkLost, NoAnswer
from mailctl.ops import budget, carrying, command, journal, mail, op_ids, targets
from mailctl.ops.acts import OUTCOMES, operation_of, told
from mailctl.ops.errors import NothingSelected, OptionError, SelectorError
from mailctl.ops.filters import Filter
from mailctl.ops.plan import Line, LineResult, Options, Plan, Report, Step, StepState, Verb
from mailctl.ops.selector import Selection
from mailctl.ops.targets import selected_hosts

PLAN_DEADLINE_S = 5.0
"""A host whose dry run takes longer counts as unreachable."""
EXECUTE_DEADLINE_S = 15.0
SETTLE_S = 15.0
"""How long hosts whose answer was lost are asked what became of it."""
SETTLE_PAUSE_S = 0.5

DEFAULTS = Options()
_DRAINED = (TargetKind.POOL, TargetKind.VMTA, TargetKind.HOST)
_HELD = (
    TargetKind.POOL,
    TargetKind.VMTA,
    TargetKind.PROVIDER,
    TargetKind.QUEUE,
    TargetKind.STREAM,
    TargetKind.JOB,
    TargetKind.CELL,
    TargetKind.TRAFFIC,
)
ACTS_ON: dict[Verb, tuple[TargetKind, ...]] = {
    Verb.DRAIN: _DRAINED,
    Verb.UNDRAIN: _DRAINED,
    Verb.SUSPEND: _HELD,
    Verb.RESUME: _HELD,
    Verb.ROTATE: (TargetKind.VMTA,),
    Verb.PROBE: (TargetKind.QUEUE, TargetKind.CELL),
    Verb.LIMIT: (TargetKind.VMTA, TargetKind.PROVIDER, TargetKind.QUEUE, TargetKind.CELL),
    Verb.SUPPRESSION_FREEZE: (TargetKind.HOST, TargetKind.PROVIDER),
    Verb.SUPPRESSION_THAW: (TargetKind.HOST, TargetKind.PROVIDER),
    Verb.JOB_SET: (TargetKind.JOB,),
    Verb.JOB_CANCEL: (TargetKind.JOB,),
    Verb.DKIM_PREPARE: (TargetKind.DKIM,),
    Verb.DKIM_SWITCH: (TargetKind.DKIM,),
    Verb.DKIM_RETIRE: (TargetKind.DKIM,),
}
"""Kinds of object per verb (DESIGN section 6); `mail.ON_MAIL` act on messages, `cancel`, `edit` and `undo` on ids."""


async def plan(fleet: Fleet, verb: Verb, selection: Selection, options: Options = DEFAULTS) -> Plan:
    """What `verb` would do to `selection`, asked of every host that it touches. Changes nothing.

    A host that refuses or cannot be reached is a step of the plan with its reason, not an error.

    Raises:
        SelectorError: terms that the verb cannot act on, or a filter that cannot be read.
        NothingSelected: an empty selection without `options.everything`, or names that no host has.
        OptionError: options that do not go together.
    """
    check(verb, selection, options)
    title = str(selection)
    if verb in mail.ON_MAIL:
        wanted = Filter.of(selection, options.filter)
        title, drafts = str(wanted), _on_mail(fleet, verb, wanted, options)
    else:
        drafts = _directed(fleet, verb, selection, options)
    return await _planned(fleet, verb, drafts, options, title, selection.words)


def check(verb: Verb, selection: Selection, options: Options) -> None:
    """Whether a verb and its selection go together, as far as it shows before hosts are asked. Raises as `plan`."""
    _check(verb, options)
    if verb in mail.ON_MAIL:
        if not Filter.of(selection, options.filter) and not options.everything:
            raise NothingSelected(f"nothing is selected; --all means every {_which(verb)} message of the fleet")
    elif verb in ACTS_ON:
        targets.acting_kind(selection, ACTS_ON[verb], verb, everything=options.everything)
    else:
        raise SelectorError(f"{verb} takes an id, not a selection")


async def plan_cancel(fleet: Fleet, directive: DirectiveId, options: Options = DEFAULTS) -> Plan:
    """What ending one directive would do.

    Raises:
        NothingSelected: no host reports such a directive.
    """
    request = requests.Cancel(op_id=_UNNAMED, directive=directive)
    return await _plan_directive(fleet, Verb.CANCEL, directive, request, options)


async def plan_edit(fleet: Fleet, directive: DirectiveId, options: Options = DEFAULTS) -> Plan:
    """What giving one directive another end (`options.ttl_s`), or pinning it (`options.pin`), would do.

    Raises:
        NothingSelected: no host reports such a directive.
        OptionError: neither is asked.
    """
    if options.ttl_s is None and options.pin is None:
        raise OptionError("edit wants --for, --pin or --unpin")
    request = requests.Edit(op_id=_UNNAMED, directive=directive, pin=options.pin)
    return await _plan_directive(fleet, Verb.EDIT, directive, request, options)


async def plan_request(
    fleet: Fleet,
    verb: Verb,
    request: requests.Mutation,
    selection: Selection,
    options: Options,
    *,
    subject: str,
    words: tuple[str, ...],
) -> Plan:
    """What the same request would do on the hosts of the selection, or on all.

    `subject` is what it is about, `words` say it on a command line.

    Raises:
        SelectorError: the selection has other terms than hosts.
        NothingSelected: names that no host has.
    """
    _check(verb, options)
    if selection.kinds:
        raise SelectorError(f"{verb.words} takes host: terms only")
    drafts = [_Draft(host.name, subject, request) for host in selected_hosts(fleet.state, selection)]
    typed = tuple(map(shlex.quote, words))
    return await _planned(fleet, verb, drafts, options, str(selection), (*typed, *selection.words))


async def plan_each(
    fleet: Fleet,
    verb: Verb,
    on_hosts: Mapping[HostName, requests.Mutation],
    options: Options,
    *,
    target: str,
    selection: str,
    words: tuple[str, ...],
) -> Plan:
    """What a verb would do that asks something else of each host; `words` are quoted for a command line."""
    _check(verb, options)
    drafts = [_Draft(host, target, request) for host, request in on_hosts.items()]
    return await _planned(fleet, verb, drafts, options, selection, words)


async def _plan_directive(
    fleet: Fleet, verb: Verb, directive: DirectiveId, request: requests.Mutation, options: Options
) -> Plan:
    _check(verb, options)
    drafts = [
        _Draft(host, f"directive {directive}", request)
        for row in fleet.state.directives
        for host, view in row.parts
        if view.directive.id == directive
    ]
    if not drafts:
        raise NothingSelected(
            f"no host has a live directive {directive}; `mailctl directives` and `mailctl automation` list them"
        )
    return await _planned(fleet, verb, drafts, options, directive, (directive,))


async def plan_undo(fleet: Fleet, operation: OpId, options: Options = DEFAULTS) -> Plan:
    """What the stored inverse of `operation` would do, on every host that executed it.

    Raises:
        NothingSelected: no host that answers knows the operation.
    """
    _check(Verb.UNDO, options)
    drafts = []
    silent = []
    for host, records in (await journal.everywhere(fleet, operation)).items():
        if records is None:
            # What the host said last tells whether it is one of them; then it is a line of the report.
            known = _last_known(fleet, host, operation)
            drafts += [_Draft(host, f"operation {one}", requests.Undo(op_id=_UNNAMED, undoes=one)) for one in known]
            silent += [] if known else [host]
        else:
            drafts += [_undo_draft(host, record) for record in records if record.verb not in OUTCOMES]
    if not drafts:
        raise NothingSelected(f"no host knows an operation {operation}{_not_asked(silent)}")
    undo = await _planned(fleet, Verb.UNDO, drafts, options, operation, (operation,))
    warnings = tuple(f"{host} does not answer: it may have executed {operation} too" for host in silent)
    return replace(undo, warnings=undo.warnings + warnings)


async def plan_undo_last(fleet: Fleet, options: Options = DEFAULTS) -> Plan:
    """What undoing the last thing would do that I did and that stands, on every host that executed it.

    Undos do not count, so that each call goes one step further back. When it cannot be undone the plan says why, and
    which one before it can be: it is not passed over, because undoing something else unasked would be a surprise.

    Raises:
        NothingSelected: no host that answers knows one.
    """
    mine = await journal.of_mine(fleet)
    if mine.last is None:
        raise NothingSelected(f"nothing of yours stands that could be undone{_not_asked(mine.silent)}")
    plan = await plan_undo(fleet, operation_of(mine.last), options)
    if plan.is_possible or mine.last.undoable:
        return plan
    return replace(plan, warnings=(*plan.warnings, _beyond(mine.last, mine.last_undoable)))


def _beyond(last: OperationRecord, before: OperationRecord | None) -> str:
    """What stops `undo last`, and how to go on."""
    stopped = f"the last of yours is {told(last)}, which has no way back"
    if before is None:
        return f"{stopped}; nothing of yours before it has one either"
    return f"{stopped}; the one before it that has: {told(before)}: mailctl undo {operation_of(before)}"


async def plan_undo_since(fleet: Fleet, since: datetime, options: Options = DEFAULTS) -> Plan:
    """What undoing all that I did since `since` would do, newest first on each host.

    What cannot be undone is a refused step with the host's reason.

    Raises:
        NothingSelected: no host that answers knows anything.
    """
    _check(Verb.UNDO, options)
    mine = await journal.of_mine(fleet, since=since)
    drafts = [_undo_draft(host, record) for host, records in mine.records.items() for record in records]
    when = since.strftime("%Y-%m-%dT%H:%M:%SZ")
    if not drafts:
        raise NothingSelected(f"nothing of yours since {when} stands{_not_asked(mine.silent)}")
    undo = await _planned(fleet, Verb.UNDO, drafts, options, f"all of mine since {when}", ("--mine", "--since", when))
    warnings = tuple(f"{host} does not answer: what was done there stays" for host in mine.silent)
    return replace(undo, warnings=undo.warnings + warnings)


async def execute(fleet: Fleet, plan: Plan, *, settle_s: float = SETTLE_S) -> Report:
    """Do what `plan` says, on all hosts at once, and say what became of each step.

    Steps that the dry run found impossible are reported as such and not sent. An agent refuses a step whose object has
    moved on since the plan (`Report.is_stale`). A host whose answer is lost is asked for up to `settle_s` what became
    of it; after that its line is `unknown`.
    """
    by_host: dict[HostName, list[Step]] = {}
    for step in _within_budget(fleet, plan.verb, plan.steps):  # the fleet may have changed since the plan
        by_host.setdefault(step.host, []).append(step)

    async def at_host(steps: Sequence[Step]) -> list[Line]:
        return [await _execute_step(fleet, plan.verb, step) for step in steps]

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(at_host(steps), name=f"{plan.verb}:{host}") for host, steps in by_host.items()]
    report = _report(plan, tuple(line for task in tasks for line in task.result()))
    report = await settle(fleet, report, within_s=settle_s)
    return await _with_copies_dropped(fleet, plan, report) if plan.verb is Verb.UNDO else report


async def _with_copies_dropped(fleet: Fleet, plan: Plan, report: Report) -> Report:
    """After the undo of an evacuation its targets drop what the source has back: their lines, too."""
    done = {line.op_id for line in report.lines if line.result is LineResult.APPLIED}
    lines = list(report.lines)
    for step in plan.steps:
        request = step.request
        if isinstance(request, requests.Undo) and step.target == Verb.EVACUATE and request.op_id in done:
            lines += await carrying.after_undo(fleet, step.host, request.undoes, request.op_id)
    return replace(report, lines=tuple(lines))


async def settle(fleet: Fleet, report: Report, *, within_s: float = SETTLE_S) -> Report:
    """`report` with its unknown lines asked again, for up to `within_s`."""
    if not report.count(LineResult.UNKNOWN):
        return report
    deadline = asyncio.get_running_loop().time() + within_s

    async def ask(line: Line) -> Line:
        while line.result is LineResult.UNKNOWN and asyncio.get_running_loop().time() < deadline:
            line = await _what_became_of(fleet, line)
            if line.result is LineResult.UNKNOWN:
                await asyncio.sleep(SETTLE_PAUSE_S)
        return line

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(line), name=f"settle:{line.host}") for line in report.lines]
    return replace(report, lines=tuple(task.result() for task in tasks))


@dataclass(frozen=True, slots=True)
class _Draft:
    """A step before its host was asked: the request without what the operation adds to it."""

    host: HostName
    target: str
    request: requests.Mutation


_UNNAMED = OpId("")
"""Placeholder until the operation has its id."""


def _undo_draft(host: HostName, record: OperationRecord) -> _Draft:
    undone = f"{record.verb} {record.target or ''}".rstrip()
    return _Draft(host, undone, requests.Undo(op_id=_UNNAMED, undoes=record.op_id))


def _not_asked(hosts: Sequence[HostName]) -> str:
    return f"; not asked: {', '.join(hosts)}" if hosts else ""


def _check(verb: Verb, options: Options) -> None:
    if options.override and not options.reason:
        raise OptionError("overriding a guard wants a reason")
    if options.break_lock and not options.reason:
        raise OptionError("breaking a lock wants a reason")
    if options.refuse and verb is not Verb.DRAIN:
        raise OptionError(f"{verb} has no refuse option; it belongs to drain")
    if verb is Verb.LIMIT and not (options.limit and options.value):
        raise OptionError("limit wants a key and a value, such as connections=2")
    if verb is Verb.LIMIT:
        try:
            parse_limit(options.limit, options.value)
        except ValueError as exc:
            raise OptionError(f"{options.limit}: {exc}") from exc


def _directed(fleet: Fleet, verb: Verb, selection: Selection, options: Options) -> list[_Draft]:
    """Drafts of a verb that acts on objects."""
    found = targets.aims(
        fleet.state, fleet.inventory, selection, ACTS_ON[verb], verb=verb, everything=options.everything
    )
    if options.standby and len(found) > 1:
        raise OptionError("one standby can replace one virtual MTA; rotate them one by one, or leave the choice open")
    return [_Draft(aim.host, str(aim.target), _request(verb, aim, options)) for aim in found]


def _request(verb: Verb, aim: targets.Aim, options: Options) -> requests.Mutation:
    target = aim.target
    match verb:
        case Verb.DRAIN:
            return requests.Drain(op_id=_UNNAMED, target=target, refuse=options.refuse)
        case Verb.UNDRAIN:
            return requests.Undrain(op_id=_UNNAMED, target=target)
        case Verb.SUSPEND:
            return requests.Suspend(op_id=_UNNAMED, target=target)
        case Verb.RESUME:
            return requests.Resume(op_id=_UNNAMED, target=target)
        case Verb.ROTATE:
            return requests.Rotate(op_id=_UNNAMED, target=target, standby=options.standby)
        case Verb.PROBE:
            return wire_mail.Probe(op_id=_UNNAMED, target=target)
        case Verb.LIMIT:
            return requests.Limit(op_id=_UNNAMED, target=target, limit=options.limit, value=options.value)
        case Verb.JOB_SET:
            return jobs.JobSet(op_id=_UNNAMED, target=target, start=options.start, end=options.end, rate=options.rate)
        case Verb.JOB_CANCEL:
            return jobs.JobCancel(
                op_id=_UNNAMED, target=target, bounce=options.bounce, max_affected=options.max_affected
            )
        case Verb.SUPPRESSION_FREEZE:
            return suppression.SuppressionFreeze(op_id=_UNNAMED, target=target)
        case Verb.SUPPRESSION_THAW:
            return suppression.SuppressionThaw(op_id=_UNNAMED, target=target)
        case Verb.DKIM_PREPARE:
            return dkim.DkimPrepare(
                op_id=_UNNAMED, target=target, selector=options.selector, algorithm=options.algorithm
            )
        case Verb.DKIM_SWITCH:
            return dkim.DkimSwitch(op_id=_UNNAMED, target=target, selector=options.selector)
        case Verb.DKIM_RETIRE:
            return dkim.DkimRetire(op_id=_UNNAMED, target=target, selector=options.selector)
        case _:
            raise SelectorError(f"{verb} does not act on objects")


def _on_mail(fleet: Fleet, verb: Verb, wanted: Filter, options: Options) -> list[_Draft]:
    """Drafts of a verb on messages: one per host that may hold matching mail."""
    request = mail.request(verb, wanted.message_filter(deferred_only=verb is Verb.RETRY), options, _UNNAMED)
    words = str(wanted.anywhere) or f"all {_which(verb)} mail"
    return [_Draft(host.name, words, request) for host in targets.filtered_hosts(fleet.state, wanted)]


def _which(verb: Verb) -> str:
    """Mail that a verb on messages is about."""
    return "deferred" if verb is Verb.RETRY else "held" if verb is Verb.RELEASE else "waiting"


def _last_known(fleet: Fleet, host: HostName, operation: OpId) -> list[OpId]:
    """Ids of the steps of `operation` whose directives stood on `host` when it was last heard."""
    snapshot = state.snapshot if (state := fleet.state.host(host)) else None
    stood = [view.directive.op_id for view in snapshot.directives] if snapshot else []
    return [one for one in dict.fromkeys(stood) if op_ids.belongs(one, operation)]


async def _planned(
    fleet: Fleet, verb: Verb, drafts: Sequence[_Draft], options: Options, selection: str, words: tuple[str, ...]
) -> Plan:
    """Ask every host for its dry run and add the answers up."""
    try:
        op_id = op_ids.keyed_op_id(options.key) if options.key else op_ids.new_op_id()
    except ValueError as exc:
        raise OptionError(str(exc)) from exc
    on_host: dict[HostName, int] = {}
    steps = []
    for draft in drafts:
        index = on_host.get(draft.host, 0)
        on_host[draft.host] = index + 1
        request = msgspec.structs.replace(
            draft.request,
            op_id=op_ids.step_id(op_id, index),
            reason=options.reason,
            ttl_s=options.ttl_s,
            override=options.override,
            break_lock=options.break_lock,
        )
        steps.append(
            Step(host=draft.host, target=draft.target, state=StepState.UNREACHABLE, detail="", request=request)
        )
    async with asyncio.TaskGroup() as group:
        preview = _preview_keyed if options.key else _preview
        tasks = [group.create_task(preview(fleet, verb, step), name=f"plan:{step.host}") for step in steps]
    previewed = _within(tuple(task.result() for task in tasks), options.max_affected)
    if verb is Verb.UNDO:
        previewed = tuple(_after_others(step) if on_host[step.host] > 1 else step for step in previewed)
    previewed = _within_budget(fleet, verb, previewed)
    return _sum_up(fleet, verb, op_id, previewed, options, selection, words)


def _within(steps: tuple[Step, ...], most: int | None) -> tuple[Step, ...]:
    """`steps`, refused when together they touch more than `most` recipients; each agent checks its own part alone."""
    messages = sum(step.impact.messages for step in steps if step.state is StepState.READY)
    if most is None or messages <= most:
        return steps
    why = f"{messages:,} recipients match in all, more than {most:,}"
    return tuple(
        replace(step, state=StepState.REFUSED, detail=why) if step.state is StepState.READY else step for step in steps
    )


def _within_budget(fleet: Fleet, verb: Verb, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """`steps`, refused (or warned of, when overridden) where they would leave too little in the fleet."""
    acts = {
        budget.Taken(step.host, target, getattr(step.request, "standby", "")): step
        for step in steps
        if step.state is StepState.READY and (target := getattr(step.request, "target", None)) is not None
    }
    found = {id(acts[act]): texts for act, texts in budget.breaches(fleet.config, fleet.state, verb, acts).items()}

    def judged(step: Step) -> Step:
        texts = found.get(id(step))
        if not texts:
            return step
        if step.request.override:
            warned = (*step.warnings, *(f"overridden: {text}" for text in texts))
            return replace(step, warnings=tuple(dict.fromkeys(warned)))
        why = f"{'; '.join(texts)} (override with a reason to act all the same)"
        return replace(step, state=StepState.REFUSED, detail=why, guarded=True)

    return tuple(map(judged, steps))


def _after_others(step: Step) -> Step:
    """An undo that comes after others on its host, which may move its object on: it expects nothing of that."""
    return replace(step, request=msgspec.structs.replace(step.request, expect=None))


async def _preview_keyed(fleet: Fleet, verb: Verb, step: Step) -> Step:
    """The same; what was executed under that key before is not done again."""
    request = requests.OperationRequest(op_id=step.request.op_id)
    try:
        record: OperationRecord | None = await fleet.ask(step.host, "operation", request, deadline_s=PLAN_DEADLINE_S)
    except LinkError as exc:
        return replace(step, state=StepState.UNREACHABLE, detail=exc.reason)
    except ApiError as exc:
        return replace(step, state=StepState.FAILED, detail=exc.message)
    if record is None:
        return await _preview(fleet, verb, step)
    when = f"by {record.author} at {record.at:%Y-%m-%d %H:%M:%S} UTC"
    target = getattr(step.request, "target", record.target)
    if (record.verb, record.target) != (verb, target):
        what = f"{record.verb} {record.target or ''}".rstrip()
        return replace(step, state=StepState.REFUSED, detail=f"the key stands for {what} {when}; take another one")
    undone = f", undone by {record.undone_by}" if record.undone_by else ""
    detail = f"executed already {when}{undone}; another key does it again"
    return replace(step, state=StepState.NOTHING_TO_DO, detail=detail, recorded=True)


async def _preview(fleet: Fleet, verb: Verb, step: Step) -> Step:
    """`step` with the host's answer to a dry run."""
    request = msgspec.structs.replace(step.request, dry_run=True)
    deadline_s = EXECUTE_DEADLINE_S if verb is Verb.DKIM_SWITCH else PLAN_DEADLINE_S  # it asks DNS
    try:
        answer: OperationResult = await fleet.ask(step.host, verb, request, deadline_s=deadline_s)
    except LinkError as exc:
        return replace(step, state=StepState.UNREACHABLE, detail=exc.reason)
    except (Refused, RoleRefused) as exc:
        guarded, locked = isinstance(exc, GuardRefused), isinstance(exc, Locked)
        return replace(step, state=StepState.REFUSED, detail=exc.message, guarded=guarded, locked=locked)
    except ApiError as exc:
        return replace(step, state=StepState.FAILED, detail=exc.message)
    return replace(
        step,
        state=StepState.NOTHING_TO_DO if answer.result is Result.NOTHING_TO_DO else StepState.READY,
        detail=answer.detail,
        # What the operator sees is what the act may rely on: the agent refuses when the object has moved on since.
        request=msgspec.structs.replace(step.request, expect=answer.generation)
        if verb in ACTS_ON or verb is Verb.UNDO
        else mail.frozen(step.request, answer),
        impact=answer.impact,
        warnings=(*answer.warnings, *_emulated(fleet, verb, step.host)),
        undoable=answer.undoable,
        undo_note=answer.undo_note,
    )


def _emulated(fleet: Fleet, verb: Verb, host: HostName) -> tuple[str, ...]:
    """What is different where a host does the verb by other means."""
    known = fleet.state.host(host)
    sentence = known.hello.emulated.get(verb, "") if known is not None and known.hello is not None else ""
    return (f"emulated: {sentence}",) if sentence else ()


def _sum_up(
    fleet: Fleet,
    verb: Verb,
    op_id: OpId,
    steps: tuple[Step, ...],
    options: Options,
    selection: str,
    words: tuple[str, ...],
) -> Plan:
    ready = [step for step in steps if step.state is StepState.READY]
    asked = {step.host for step in steps}
    others = [host.name for host in fleet.state.hosts if host.name not in asked]
    untouched = list(dict.fromkeys(text for step in ready for text in step.impact.untouched))
    if others:
        untouched.append(f"host{'' if len(others) == 1 else 's'} {', '.join(others)}")
    undoable = bool(ready) and all(step.undoable for step in ready)
    notes = list(dict.fromkeys(step.undo_note for step in ready if step.undo_note))
    return Plan(
        verb=verb,
        op_id=op_id,
        made_at=datetime.now(UTC),
        selection=selection,
        options=options,
        steps=steps,
        hosts=len(asked),
        fleet_hosts=len(fleet.state.hosts),
        messages=sum(step.impact.messages for step in ready),
        connections=sum(step.impact.connections for step in ready),
        share=_fleet_share(fleet, ready),
        untouched=tuple(untouched),
        warnings=_by_host([(step.host, warning) for step in steps for warning in step.warnings], len(asked)),
        undoable=undoable,
        undo_note="; ".join(notes),
        command=command.line(verb, words, options, fleet_file=fleet.path),
        environment=fleet.config.environment or "",
    )


def _fleet_share(fleet: Fleet, steps: Sequence[Step]) -> float:
    """Share of the fleet's deliveries: each host's own share, weighted with what it delivered in the last minute."""
    weights = {
        host.name: host.snapshot.host.flow.delivered_1m
        for host in fleet.state.hosts
        if host.snapshot and host.state.is_fresh
    }
    total = sum(weights.values())
    return min(1.0, sum(step.impact.share * weights.get(step.host, 0) for step in steps) / total) if total else 0.0


def _by_host(texts: Iterable[tuple[HostName, str]], hosts: int) -> tuple[str, ...]:
    """Each text once, with the hosts that it concerns unless it concerns all of them."""
    where: dict[str, list[str]] = {}
    for host, text in texts:
        where.setdefault(text, []).append(host)
    return tuple(
        text if len(set(names)) == hosts > 1 else f"{', '.join(dict.fromkeys(names))}: {text}"
        for text, names in where.items()
    )


_NOT_SENT = {
    StepState.NOTHING_TO_DO: LineResult.NOTHING_TO_DO,
    StepState.REFUSED: LineResult.REFUSED,
    StepState.FAILED: LineResult.FAILED,
    StepState.UNREACHABLE: LineResult.UNREACHABLE,
}


async def _execute_step(fleet: Fleet, verb: Verb, step: Step) -> Line:
    def line(result: LineResult, detail: str, answer: OperationResult | None = None) -> Line:
        return Line(
            host=step.host, target=step.target, result=result, detail=detail, op_id=step.request.op_id, answer=answer
        )

    if not step.runs:
        return line(_NOT_SENT[step.state], step.detail)
    try:
        answer: OperationResult = await fleet.ask(step.host, verb, step.request, deadline_s=EXECUTE_DEADLINE_S)
    except (NoAnswer, LinkLost) as exc:
        return line(LineResult.UNKNOWN, exc.reason)
    except LinkError as exc:
        return line(LineResult.UNREACHABLE, exc.reason)
    except (Refused, RoleRefused) as exc:
        return replace(line(LineResult.REFUSED, exc.message), stale=isinstance(exc, StalePlan))
    except ApiError as exc:
        return line(LineResult.FAILED, exc.message)
    return line(LineResult(answer.result.value), answer.detail, answer)


async def _what_became_of(fleet: Fleet, line: Line) -> Line:
    """`line` with what the host's log says, still unknown when it cannot be asked."""
    try:
        record: OperationRecord | None = await fleet.ask(
            line.host, "operation", requests.OperationRequest(op_id=line.op_id), deadline_s=PLAN_DEADLINE_S
        )
    except (LinkError, ApiError):
        return line
    if record is None:
        # The host answers when it has come to the end of what it was told. Nothing can arrive late: the call went over
        # this connection, or over one that is gone with all that it had not delivered.
        return replace(line, result=LineResult.FAILED, detail=f"not done: {line.detail}")
    return replace(line, result=LineResult(record.result.value), detail=record.detail)


def _report(plan: Plan, lines: tuple[Line, ...]) -> Report:
    """The report of `plan`; undo is offered when a host has, or may have, done something that can be undone."""
    done = any(line.result in (LineResult.APPLIED, LineResult.UNKNOWN) for line in lines)
    answers = [line.answer for line in lines if line.answer and line.result is LineResult.APPLIED]
    undoable = done and (not answers or any(answer.undoable for answer in answers))
    prefix = plan.command.partition(f" {plan.verb.words}")[0]
    return Report(
        verb=plan.verb,
        op_id=plan.op_id,
        selection=plan.selection,
        lines=lines,
        command=plan.command,
        undo_command=f"{prefix} undo {plan.op_id}" if undoable else "",
        undo_note="; ".join(dict.fromkeys(answer.undo_note for answer in answers if answer.undo_note)),
        ask_command=f"{prefix} operation {plan.op_id}",
    )
