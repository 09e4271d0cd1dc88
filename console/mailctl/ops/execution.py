"""The execution of a plan on all hosts at once, and the report: what became of each step."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from mailagent.api import requests
from mailagent.api.errors import ApiError, Refused, RoleRefused, StalePlan
from mailagent.api.ids import HostName
from mailagent.api.operations import OperationRecord, OperationResult
from mailctl.fleet import Fleet, LinkError
from mailctl.fleet.errors import LinkLost, NoAnswer
from mailctl.ops import carrying
from mailctl.ops.dry_run import within_budget
from mailctl.ops.plan import Line, LineResult, Plan, Report, Step, StepState, Verb

EXECUTE_DEADLINE_S = 15.0
LOOK_DEADLINE_S = 5.0
"""Of one question what became of a step."""
SETTLE_S = 15.0
"""How long hosts whose answer was lost are asked what became of it."""
SETTLE_PAUSE_S = 0.5


async def execute(fleet: Fleet, plan: Plan, *, settle_s: float = SETTLE_S) -> Report:
    """Do what `plan` says, on all hosts at once, and say what became of each step.

    Steps that the dry run found impossible are reported as such and not sent. An agent refuses a step whose object has
    moved on since the plan (`Report.is_stale`). A host whose answer is lost is asked for up to `settle_s` what became
    of it; after that its line is `unknown`.
    """
    by_host: dict[HostName, list[Step]] = {}
    for step in within_budget(fleet, plan.verb, plan.steps):  # the fleet may have changed since the plan
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
            line.host, "operation", requests.OperationRequest(op_id=line.op_id), deadline_s=LOOK_DEADLINE_S
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
    prefix = plan.command.partition(f" {plan.words}")[0]
    return Report(
        verb=plan.verb,
        op_id=plan.op_id,
        title=plan.title,
        lines=lines,
        command=plan.command,
        undo_command=f"{prefix} undo {plan.op_id}" if undoable else "",
        undo_note="; ".join(dict.fromkeys(answer.undo_note for answer in answers if answer.undo_note)),
        ask_command=f"{prefix} operation {plan.op_id}",
    )
