"""Plans of undos: of one operation, of the last of mine, of all of mine since a time."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from mailagent.api import requests
from mailagent.api.ids import HostName, OpId
from mailagent.api.operations import OperationRecord
from mailctl.fleet import Fleet
from mailctl.ops import journal, op_ids
from mailctl.ops.acts import OUTCOMES, operation_of, told, verb_and_target
from mailctl.ops.dry_run import Draft, planned
from mailctl.ops.errors import NothingSelected
from mailctl.ops.op_ids import UNNAMED
from mailctl.ops.plan import Options, Plan, StepState, Verb
from mailctl.ops.verbs import DEFAULTS, check_options


async def plan_undo(fleet: Fleet, operation: OpId, options: Options = DEFAULTS) -> Plan:
    """What the stored inverse of `operation` would do, on every host that executed it.

    Raises:
        NothingSelected: no host that answers knows the operation.
    """
    check_options(Verb.UNDO, options)
    drafts = []
    silent = []
    for host, records in (await journal.everywhere(fleet, operation)).items():
        if records is None:
            # What the host said last tells whether it is one of them; then it is a line of the report.
            known = _last_known(fleet, host, operation)
            drafts += [Draft(host, f"operation {one}", requests.Undo(op_id=UNNAMED, undoes=one)) for one in known]
            silent += [] if known else [host]
        else:
            drafts += [_undo_draft(host, record) for record in records if record.verb not in OUTCOMES]
    if not drafts:
        raise NothingSelected(f"no host knows an operation {operation}{_not_asked(silent)}")
    undo = await planned(fleet, Verb.UNDO, drafts, options, operation, (operation,))
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
    last = operation_of(mine.last)
    plan = await plan_undo(fleet, last, options)
    if not all(step.state in _FOR_GOOD and not (step.guarded or step.locked) for step in plan.steps):
        return plan
    before = (await journal.of_mine(fleet, besides=last)).last_undoable
    return replace(plan, warnings=(*plan.warnings, _beyond(mine.last, before)))


_FOR_GOOD = (StepState.REFUSED, StepState.NOTHING_TO_DO)
"""What asking again does not change."""


def _beyond(last: OperationRecord, before: OperationRecord | None) -> str:
    """What stops `undo last`, and how to go on."""
    why = "of which nothing can be undone any more" if last.undoable else "which has no way back"
    stopped = f"the last of yours is {told(last)}, {why}"
    if before is None:
        return f"{stopped}; nothing of yours before it has one either"
    return f"{stopped}; the one before it that has: {told(before)}: mailctl undo {operation_of(before)}"


async def plan_undo_since(fleet: Fleet, since: datetime, options: Options = DEFAULTS) -> Plan:
    """What undoing all that I did since `since` would do, newest first on each host.

    What cannot be undone is a refused step with the host's reason.

    Raises:
        NothingSelected: no host that answers knows anything.
    """
    check_options(Verb.UNDO, options)
    mine = await journal.of_mine(fleet, since=since)
    drafts = [_undo_draft(host, record) for host, records in mine.records.items() for record in records]
    when = since.strftime("%Y-%m-%dT%H:%M:%SZ")
    if not drafts:
        raise NothingSelected(f"nothing of yours since {when} stands{_not_asked(mine.silent)}")
    undo = await planned(fleet, Verb.UNDO, drafts, options, f"all of mine since {when}", ("--mine", "--since", when))
    warnings = tuple(f"{host} does not answer: what was done there stays" for host in mine.silent)
    return replace(undo, warnings=undo.warnings + warnings)


def _undo_draft(host: HostName, record: OperationRecord) -> Draft:
    return Draft(host, verb_and_target(record), requests.Undo(op_id=UNNAMED, undoes=record.op_id))


def _last_known(fleet: Fleet, host: HostName, operation: OpId) -> list[OpId]:
    """Ids of the steps of `operation` whose directives stood on `host` when it was last heard."""
    snapshot = state.snapshot if (state := fleet.state.host(host)) else None
    stood = [view.directive.op_id for view in snapshot.directives] if snapshot else []
    return [one for one in dict.fromkeys(stood) if op_ids.belongs(one, operation)]


def _not_asked(hosts: Sequence[HostName]) -> str:
    return f"; not asked: {', '.join(hosts)}" if hosts else ""
