"""Verbs that act on objects: on which kinds, and what each asks of a host."""

from mailagent.api import dkim, jobs, requests, suppression
from mailagent.api import mail as wire_mail
from mailagent.api.targets import TargetKind
from mailctl.ops.errors import SelectorError
from mailctl.ops.op_ids import UNNAMED
from mailctl.ops.plan import Options, Verb
from mailctl.ops.targets import Aim

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


def request_of(verb: Verb, aim: Aim, options: Options) -> requests.Mutation:
    """What `verb` asks of the host of `aim`.

    Raises:
        SelectorError: it does not act on objects.
    """
    target = aim.target
    match verb:
        case Verb.DRAIN:
            return requests.Drain(op_id=UNNAMED, target=target, refuse=options.refuse)
        case Verb.UNDRAIN:
            return requests.Undrain(op_id=UNNAMED, target=target)
        case Verb.SUSPEND:
            return requests.Suspend(op_id=UNNAMED, target=target)
        case Verb.RESUME:
            return requests.Resume(op_id=UNNAMED, target=target)
        case Verb.ROTATE:
            return requests.Rotate(op_id=UNNAMED, target=target, standby=options.standby)
        case Verb.PROBE:
            return wire_mail.Probe(op_id=UNNAMED, target=target)
        case Verb.LIMIT:
            return requests.Limit(op_id=UNNAMED, target=target, limit=options.limit, value=options.value)
        case Verb.JOB_SET:
            return jobs.JobSet(op_id=UNNAMED, target=target, start=options.start, end=options.end, rate=options.rate)
        case Verb.JOB_CANCEL:
            return jobs.JobCancel(
                op_id=UNNAMED, target=target, bounce=options.bounce, max_affected=options.max_affected
            )
        case Verb.SUPPRESSION_FREEZE:
            return suppression.SuppressionFreeze(op_id=UNNAMED, target=target)
        case Verb.SUPPRESSION_THAW:
            return suppression.SuppressionThaw(op_id=UNNAMED, target=target)
        case Verb.DKIM_PREPARE:
            return dkim.DkimPrepare(
                op_id=UNNAMED, target=target, selector=options.selector, algorithm=options.algorithm
            )
        case Verb.DKIM_SWITCH:
            return dkim.DkimSwitch(op_id=UNNAMED, target=target, selector=options.selector)
        case Verb.DKIM_RETIRE:
            return dkim.DkimRetire(op_id=UNNAMED, target=target, selector=options.selector)
        case _:
            raise SelectorError(f"{verb} does not act on objects")
