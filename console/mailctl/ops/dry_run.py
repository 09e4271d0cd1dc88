"""The hosts' dry runs of one verb, added up to a plan."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import msgspec

from mailagent.api import requests
from mailagent.api.errors import ApiError, GuardRefused, Locked, Refused, RoleRefused
from mailagent.api.ids import HostName, OpId
from mailagent.api.operations import OperationRecord, OperationResult, Result
from mailctl.fleet import Fleet, LinkError
from mailctl.ops import budget, command, mail, op_ids
from mailctl.ops.acts import verb_and_target
from mailctl.ops.errors import OptionError
from mailctl.ops.objects import ACTS_ON
from mailctl.ops.plan import Options, Plan, Step, StepState, Verb

PLAN_DEADLINE_S = 5.0
"""A host whose dry run takes longer counts as unreachable."""
LONG_DEADLINE_S = 15.0
"""Where the host asks DNS first."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A step before its host was asked: the request without what the operation adds to it."""

    host: HostName
    target: str
    request: requests.Mutation


async def planned(
    fleet: Fleet, verb: Verb, drafts: Sequence[Draft], options: Options, selection: str, words: tuple[str, ...]
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
    previewed = within_budget(fleet, verb, previewed)
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


def within_budget(fleet: Fleet, verb: Verb, steps: tuple[Step, ...]) -> tuple[Step, ...]:
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
        what = verb_and_target(record)
        return replace(step, state=StepState.REFUSED, detail=f"the key stands for {what} {when}; take another one")
    undone = f", undone by {record.undone_by}" if record.undone_by else ""
    detail = f"executed already {when}{undone}; another key does it again"
    return replace(step, state=StepState.NOTHING_TO_DO, detail=detail, recorded=True)


async def _preview(fleet: Fleet, verb: Verb, step: Step) -> Step:
    """`step` with the host's answer to a dry run."""
    request = msgspec.structs.replace(step.request, dry_run=True)
    deadline_s = LONG_DEADLINE_S if verb is Verb.DKIM_SWITCH else PLAN_DEADLINE_S
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
        if verb in ACTS_ON or verb in (Verb.UNDO, Verb.CANCEL)
        else mail.frozen(step.request, answer),
        impact=answer.impact,
        warnings=(
            *answer.warnings,
            *(() if answer.result is Result.NOTHING_TO_DO else _emulated(fleet, verb, step.host)),
        ),
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
    undoable, undo_note = way_back(ready)
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
        undo_note=undo_note,
        command=command.line(verb, words, options, fleet_file=fleet.path),
        environment=fleet.config.environment or "",
    )


def way_back(steps: Sequence[Step]) -> tuple[bool, str]:
    """Whether all of it can be undone, and what to say of that; where only some hosts can, which."""
    some = [step for step in steps if step.undoable]
    notes = [merged(_notes(some)), merged(_notes([step for step in steps if not step.undoable]))]
    if not some or len(some) == len(steps):
        return bool(some), "; ".join((*notes[1], *notes[0]))
    hosts = ", ".join(dict.fromkeys(step.host for step in some))
    return False, "; ".join((*notes[1], f"except on {hosts}" + (f": {'; '.join(notes[0])}" if notes[0] else "")))


def _notes(steps: Iterable[Step]) -> list[str]:
    return list(dict.fromkeys(step.undo_note for step in steps if step.undo_note))


def merged(texts: Sequence[str]) -> Sequence[str]:
    """One text for all that differ in one word only: `what left from tx-2 and tx-4 by then stays sent`."""
    words = [text.split(" ") for text in texts]
    if len(texts) < 2 or len({len(one) for one in words}) > 1:
        return texts
    columns = [tuple(dict.fromkeys(column)) for column in zip(*words, strict=True)]
    if sum(len(column) > 1 for column in columns) != 1:
        return texts
    return (" ".join(f"{', '.join(one[:-1])} and {one[-1]}" if len(one) > 1 else one[0] for one in columns),)


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
