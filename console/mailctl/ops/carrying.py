"""An evacuation from its plan to its report: begin, carry, end; and what a question about it shows."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from mailagent.api import evacuation as api
from mailagent.api.errors import ApiError, Refused
from mailagent.api.evacuation import EvacuationState, EvacuationView
from mailagent.api.ids import HostName, OpId, StreamName
from mailagent.api.operations import Impact
from mailagent.api.requests import Empty
from mailctl.fleet import Fleet, LinkError
from mailctl.fleet.lists import reason as why_not
from mailctl.ops.courier import PATIENCE_S, Courier, Progress
from mailctl.ops.evacuation import EvacuationPlan, Place, begin, end, under_way
from mailctl.ops.plan import Line, LineResult, Options, Plan, Report, Step, StepState, Verb

IMPATIENT_S = 5.0
"""How long a cancel waits for targets that are away."""


def question(plan: EvacuationPlan, options: Options) -> Plan:
    """The plan as a question shows it: the source with what leaves, and each target with what it takes."""
    request = api.Evacuate(op_id=plan.id, reason=plan.reason, streams=_streams(plan), targets=plan.targets)
    to = ", ".join(target.host for target in plan.targets) or "nowhere"
    verb = "goes on" if plan.resumes is not None else "begins"
    source = Step(
        host=plan.source,
        target=f"host:{plan.source}",
        state=StepState.READY if plan.is_possible else StepState.REFUSED,
        detail=f"evacuation {verb}: {plan.leaving:,} recipients may leave to {to}",
        request=request,
        impact=Impact(messages=plan.leaving),
        undoable=True,
    )
    stays = tuple(f"{row.waiting:,} of {row.stream}: {row.stays}" for row in plan.rows if not row.to)
    return Plan(
        verb=Verb.EVACUATE,
        op_id=plan.id,
        made_at=datetime.now(UTC),
        selection=f"host:{plan.source}",
        options=options,
        steps=(source, *(_step(place, request) for place in plan.places)),
        hosts=1 + len(plan.places),
        fleet_hosts=plan.fleet_hosts,
        messages=plan.leaving,
        connections=0,
        share=0.0,
        untouched=(*stays, "what is under way, until it is settled"),
        warnings=plan.warnings,
        undoable=False,
        undo_note=f"{plan.undo_command} brings back what has not left",
        command=plan.command,
    )


def _step(place: Place, request: api.Evacuate) -> Step:
    takes = ", ".join(place.streams)
    return Step(
        host=place.host,
        target=f"host:{place.host}",
        state=StepState.UNREACHABLE if place.room is None else StepState.READY if takes else StepState.REFUSED,
        detail=f"takes {takes}" if takes else place.refusal,
        request=request,
    )


async def evacuate(
    fleet: Fleet,
    plan: EvacuationPlan,
    *,
    rate_s: float | None = None,
    until_empty_s: float | None = None,
    told: Callable[[Progress], None] = lambda _: None,
) -> Report:
    """Do it, or go on with it, and say what became of it. `told` gets all that moved, also before this courier.

    Raises:
        LinkError, ApiError: the source does not answer; what was begun waits.
    """
    told_hosts = await begin(fleet, plan)
    refused = [_refusal(plan, host, answer) for host, answer in told_hosts if isinstance(answer, Exception)]
    if refused and plan.resumes is None:
        admitted = [host for host, answer in told_hosts if not isinstance(answer, Exception)]
        await end(fleet, plan.id, admitted, cancel=True)
        return _report(plan.source, plan.id, refused, plan)
    view = plan.resumes or await under_way(fleet, plan.source)
    if view is None or view.id != plan.id:
        failed = _line(plan.source, plan.source, plan.id, LineResult.FAILED, "the evacuation is not under way")
        return _report(plan.source, plan.id, [failed], plan)
    courier = _courier(fleet, plan.source, view, rate_s=rate_s, told=told)
    if view.state is EvacuationState.OPEN:
        await courier.run(until_empty_s=until_empty_s)
    else:  # cancelled, and parcels are left
        await courier.finish_open()
    return await _ended(fleet, plan.source, view, courier, plan, cancelled=view.state is not EvacuationState.OPEN)


async def bring_back(fleet: Fleet, source: HostName, view: EvacuationView, *, reason: str = "") -> Report:
    """Cancel an evacuation: what its source has not given up is in its queue again.

    Raises:
        LinkError, ApiError: the source does not answer.
    """
    if view.state is EvacuationState.OPEN:
        for _, answer in await end(fleet, view.id, [source], cancel=True, reason=reason):
            if isinstance(answer, Exception):
                raise answer
    courier = _courier(fleet, source, view, patience_s=IMPATIENT_S)
    await courier.finish_open()
    return await _ended(fleet, source, view, courier, None, cancelled=True)


async def after_undo(fleet: Fleet, source: HostName, evacuation: OpId, undo: OpId) -> list[Line]:
    """Let the targets drop their copies of what an undo brought back: what became of it on each of them."""
    try:
        known: api.Evacuations = await fleet.ask(source, "evacuations", Empty())
        view = next(one for one in known.rows if one.id == evacuation)
        lines = (await bring_back(fleet, source, view)).lines
    except (LinkError, ApiError) as exc:
        detail = f"targets may keep copies that nothing sends: {why_not(exc)}; mailctl evacuate {source} --cancel"
        return [_line(source, source, undo, LineResult.FAILED, detail)]
    return [replace(line, op_id=undo) for line in lines if line.host != source or line.result is LineResult.FAILED]


def _courier(
    fleet: Fleet,
    source: HostName,
    view: EvacuationView,
    *,
    rate_s: float | None = None,
    patience_s: float = PATIENCE_S,
    told: Callable[[Progress], None] = lambda _: None,
) -> Courier:
    may_go = frozenset(name for target in view.targets for name in target.streams) & frozenset(view.streams)
    return Courier(
        fleet=fleet,
        source=source,
        evacuation=view.id,
        targets=view.peers,
        streams=may_go,
        before=view.moved,
        rate_s=rate_s,
        patience_s=patience_s,
        told=told,
    )


async def _ended(
    fleet: Fleet,
    source: HostName,
    view: EvacuationView,
    courier: Courier,
    plan: EvacuationPlan | None,
    *,
    cancelled: bool,
) -> Report:
    """Tell the hosts that it is over, if it is, and whoever asked what became of it."""
    lines = []
    for host, tally in courier.tallies.items():
        words = [f"{tally.moved:,} recipients moved there"]
        words += [f"{tally.returned:,} brought back"] if tally.returned else []
        words += [tally.error] if tally.error else []
        did = LineResult.APPLIED if tally.moved or tally.returned else LineResult.NOTHING_TO_DO
        lines.append(_line(source, host, view.id, LineResult.FAILED if tally.error else did, "; ".join(words)))
    left = 0 if cancelled else courier.left
    if not left and not courier.in_parcels and not courier.errors:
        await end(fleet, view.id, [source, *view.peers], cancel=False, reason=view.reason)
        detail = "cancelled" if cancelled else "nothing that may leave waits here"
        lines.append(_line(source, source, view.id, LineResult.APPLIED, detail))
    else:
        parts = [f"{left:,} recipients wait here"] if left else []
        parts += [f"{courier.in_parcels:,} in parcels"] if courier.in_parcels else []
        detail = f"{', '.join(parts) or 'a target has not answered'}; run it again to go on"
        lines.append(_line(source, source, view.id, LineResult.FAILED, detail))
    return _report(source, view.id, lines, plan)


def _streams(plan: EvacuationPlan) -> tuple[StreamName, ...]:
    return tuple(dict.fromkeys(row.stream for row in plan.rows if row.to))


def _refusal(plan: EvacuationPlan, host: HostName, answer: Exception) -> Line:
    result = LineResult.UNREACHABLE if isinstance(answer, LinkError) else LineResult.FAILED
    if isinstance(answer, Refused):
        result = LineResult.REFUSED
    return _line(plan.source, host, plan.id, result, why_not(answer))


def _line(source: HostName, host: HostName, evacuation: OpId, result: LineResult, detail: str) -> Line:
    return Line(host=host, target=f"host:{source}", result=result, detail=detail, op_id=evacuation)


def _report(source: HostName, evacuation: OpId, lines: Sequence[Line], plan: EvacuationPlan | None) -> Report:
    return Report(
        verb=Verb.EVACUATE,
        op_id=evacuation,
        title=f"{Verb.EVACUATE.words} host:{source}",
        lines=tuple(lines),
        command=plan.command if plan is not None else "",
        undo_command="",
        undo_note=f"{plan.undo_command} brings back what has not left" if plan is not None else "",
    )
