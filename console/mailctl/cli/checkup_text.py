"""A checkup as people read it. Pure."""

from collections.abc import Sequence

from mailctl.ops.checkup import Level, Reading, Unit, Verdict, lacking, not_concerned
from mailctl.output.human import NOTHING, count, duration, percent, size
from mailctl.output.tables import Column, table, wrapped


def checkup_text(verdicts: Sequence[Verdict], width: int | None) -> str:
    """A table of all thresholds, then what was crossed with the command to look further, then what is not known."""
    columns = [
        Column("CHECK"),
        Column("LEVEL"),
        Column("WORST", right=True),
        Column("OF"),
        Column("WARNING", right=True, spare=2),
        Column("CRITICAL", right=True, spare=3),
        Column("MEASURED", right=True, spare=1),
        Column("NOT CHECKED ON", flex=True),
    ]
    rows = [
        [
            verdict.name,
            verdict.level,
            quantity(verdict.unit, verdict.worst.value) if verdict.worst else NOTHING,
            verdict.worst.subject if verdict.worst else NOTHING,
            _limit(verdict.unit, verdict.worst.warning if verdict.worst else None),
            _limit(verdict.unit, verdict.worst.critical if verdict.worst else None),
            count(verdict.subjects),
            ", ".join(one.host for one in verdict.unchecked),
        ]
        for verdict in verdicts
    ]
    parts = [table(columns, rows, width=width)]
    crossed = [(verdict, one) for verdict in verdicts for one in verdict.crossed]
    crossed.sort(key=lambda pair: pair[1].level is not Level.CRITICAL)
    lines = []
    for verdict, one in crossed:
        lines += wrapped(f"{one.level}: {sentence(verdict, one)}", indent=0, width=width)
        lines += [f"  {one.look}"] if one.look else []
    lines += [
        line
        for (host, why), names in lacking(verdicts).items()
        for line in wrapped(f"not checked on {host} ({why}): {', '.join(names)}", indent=0, width=width)
    ]
    lines += [
        line
        for host, names in not_concerned(verdicts).items()
        for line in wrapped(
            f"nothing to check on {host} (its engine has none): {', '.join(names)}", indent=0, width=width
        )
    ]
    if lines:
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def sentence(verdict: Verdict, one: Reading) -> str:
    """`deferrals 23% of provider gmail (limit 15%): 230 of 1,000 events`."""
    limit = one.critical if one.level is Level.CRITICAL and one.critical is not None else one.warning
    text = f"{verdict.name} {quantity(verdict.unit, one.value)} of {one.subject}"
    if limit is not None:
        text += f" (limit {quantity(verdict.unit, limit)})"
    return f"{text}: {one.detail}" if one.detail else text


def quantity(unit: Unit, value: float) -> str:
    """A value with its unit."""
    match unit:
        case Unit.COUNT:
            return count(int(value))
        case Unit.SHARE:
            return percent(value)
        case Unit.AGE:
            return duration(value)
        case Unit.SPACE:
            return size(int(value))


def amount(value: float) -> str:
    """A plain number with at most three decimals: `5`, `0.1`."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _limit(unit: Unit, limit: float | None) -> str:
    return NOTHING if limit is None else quantity(unit, limit)
