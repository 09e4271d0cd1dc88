"""What the fleet file would change on hosts, as people read it."""

from collections.abc import Sequence

from mailagent.api.rollout import ConfigPlan, FileState
from mailctl.ops import HostPlan
from mailctl.output.human import plural, printable
from mailctl.output.tables import wrapped

_STATES = {
    FileState.IN_EFFECT: "",
    FileState.EDITED: "edited by hand",
    FileState.PENDING: "waits for a restart",
}


def plans_text(found: Sequence[HostPlan], width: int | None) -> str:
    """Each host once; hosts of which the same is to be said together."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for one in found:
        if one.plan is not None:
            groups.setdefault(tuple(_lines(one.plan, width)), []).append(one.host)
    texts = []
    for (head, *below), hosts in groups.items():
        names = ", ".join(hosts) if len(hosts) <= 8 else f"{', '.join(hosts[:8])} … ({plural(len(hosts), 'host')})"
        texts.append("\n".join((*wrapped(f"{names}: {head}", indent=0, width=width), *below)))
    return "\n".join(texts)


def _lines(plan: ConfigPlan, width: int | None) -> list[str]:
    rows = [
        *(f"{row.section} {row.name}".rstrip() + f" {row.how}" + (f"  {row.detail}" if row.detail else "")
          for row in plan.changes),
        *(f"ceiling {row.provider or 'everywhere'} x {', '.join(row.vmtas)}: {row.limit} {row.before or 'none'} -> "
          f"{row.after or 'none'}{' (lower)' if row.lower else ''}" for row in plan.ceilings),
        *(f"standing order {one.directive.kind} {one.directive.target} by {one.directive.author} ({one.directive.id})"
          f" {'ends with the apply' if one.adopted else 'has no effect any more'}: {one.why}" for one in plan.misfits),
        *([f"needs a restart of the agent: {', '.join(plan.restart)}"] if plan.restart else []),
        *([f"refused: {line}" for line in plan.problems]),
        *(["there is more; --json has no more of it either"] if plan.truncated else []),
    ]  # fmt: skip
    lines = [_head(plan)]
    for row in rows:
        lines += wrapped(printable(row), indent=2, width=width)
    lines += [f"    {printable(line)}" for line in plan.edits]
    return lines


def _head(plan: ConfigPlan) -> str:
    state = _STATES[plan.state]
    if plan.problems:
        head = "would refuse its part"
    elif plan.same:
        head = "as the fleet file says"
    else:
        head = (
            f"{plural(len(plan.changes), 'change')}, {plural(len(plan.ceilings), 'ceiling')}; "
            f"{plural(plan.queues, 'ready queue')}, {plural(plan.waiting, 'waiting message')}"
        )
    return f"{head}; {plan.file} {state}" if state else head
