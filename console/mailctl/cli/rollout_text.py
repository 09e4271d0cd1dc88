"""What the fleet file would change on hosts, for a terminal."""

from collections.abc import Sequence

from mailagent.api.rollout import ConfigPlan
from mailctl.ops import HostPlan
from mailctl.output.effects import effects, head
from mailctl.output.human import plural, printable
from mailctl.output.tables import wrapped


def plans_text(found: Sequence[HostPlan], width: int | None) -> str:
    """Each host once; hosts of which the same is to be said together."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for one in found:
        if one.plan is not None:
            groups.setdefault(tuple(_lines(one.plan, width)), []).append(one.host)
    texts = []
    for (first, *below), hosts in groups.items():
        names = ", ".join(hosts) if len(hosts) <= 8 else f"{', '.join(hosts[:8])} … ({plural(len(hosts), 'host')})"
        texts.append("\n".join((*wrapped(f"{names}: {first}", indent=0, width=width), *below)))
    return "\n".join(texts)


def _lines(plan: ConfigPlan, width: int | None) -> list[str]:
    lines = [head(plan)]
    for row in effects(plan):
        lines += wrapped(row, indent=2, width=width)
    lines += [f"    {printable(line)}" for line in plan.edits]
    return lines
