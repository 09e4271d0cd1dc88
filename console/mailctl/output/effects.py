"""What a file would change on a host, as people read it."""

from typing import Final

from mailagent.api.rollout import ConfigPlan, FileState
from mailctl.output.human import plural, printable

STATES: Final = {
    FileState.IN_EFFECT: "",
    FileState.EDITED: "edited by hand",
    FileState.PENDING: "waits for a restart",
}


def head(plan: ConfigPlan) -> str:
    """The host in one line."""
    state = STATES[plan.state]
    if plan.problems:
        text = "would refuse its part"
    elif plan.same:
        text = "as the fleet file says"
    else:
        text = (
            f"{plural(len(plan.changes), 'change')}, {plural(len(plan.ceilings), 'ceiling')}; "
            f"{plural(plan.queues, 'ready queue')}, {plural(plan.waiting, 'waiting message')}"
        )
    return f"{text}; {plan.file} {state}" if state else text


def effects(plan: ConfigPlan) -> list[str]:
    """Each part that differs, ceilings from and to, standing orders that fit no more: one line each, harmless."""
    rows = [
        *(f"{row.section} {row.name}".rstrip() + f" {row.how}" + (f"  {row.detail}" if row.detail else "")
          for row in plan.changes),
        *(f"ceiling {row.provider or 'everywhere'} x {', '.join(row.vmtas)}: {row.limit} {row.before or 'none'} -> "
          f"{row.after or 'none'}{' (lower)' if row.lower else ''}" for row in plan.ceilings),
        *(f"standing order {one.directive.kind} {one.directive.target} by {one.directive.author} ({one.directive.id})"
          f" {'ends with the apply' if one.adopted else 'has no effect any more'}: {one.why}" for one in plan.misfits),
        *([f"needs a restart of the agent: {', '.join(plan.restart)}"] if plan.restart else []),
        *(f"note: {line}" for line in plan.notes),
        *([f"refused: {line}" for line in plan.problems]),
        *(["there is more; --json has no more of it either"] if plan.truncated else []),
    ]  # fmt: skip
    return list(map(printable, rows))
