"""A checkup as monitoring systems read it: one line, performance data, exit 0 to 3. Pure.

The form is that of the Monitoring Plugins Development Guidelines: `SERVICE STATUS - text | data`, with data such as
`'label'=value[UOM];[warn];[crit];[min];[max]`. Limits are ranges: `10` alerts above 10, `10:` below it. A count alerts
from its limit on, so its range ends one before it.
"""

from collections.abc import Sequence

from mailctl.cli.checkup_text import amount, sentence
from mailctl.ops.checkup import Level, Reading, Unit, Verdict, lacking, worst_of
from mailctl.output.human import plural, printable

CODES = {Level.OK: 0, Level.WARNING: 1, Level.CRITICAL: 2, Level.UNKNOWN: 3}
MAX_CHARS = 1024
"""Of the text before the performance data; older readers cut a plugin's output at 4 KB."""


def nagios(verdicts: Sequence[Verdict]) -> tuple[str, int]:
    """The line, and the exit code."""
    level = worst_of(verdict.level for verdict in verdicts)
    data = " ".join(_datum(verdict) for verdict in verdicts)
    return f"{problem(_text(verdicts), level)} | {data}", CODES[level]


def problem(text: str, level: Level = Level.UNKNOWN) -> str:
    """The line without performance data."""
    clean = " ".join(printable(text).replace("|", "/").split())
    return f"MAILCTL {level.upper()} - {clean if len(clean) <= MAX_CHARS else clean[: MAX_CHARS - 1] + '…'}"


def _text(verdicts: Sequence[Verdict]) -> str:
    crossed = [(verdict, one) for verdict in verdicts for one in verdict.crossed]
    crossed.sort(key=lambda pair: CODES[pair[1].level], reverse=True)
    parts = [sentence(verdict, one) for verdict, one in crossed]
    parts += [f"not checked on {host} ({why}): {', '.join(names)}" for (host, why), names in lacking(verdicts).items()]
    return "; ".join(parts) or f"{plural(len(verdicts), 'check')}, nothing crossed"


def _datum(verdict: Verdict) -> str:
    worst = verdict.worst
    if worst is None:
        return f"'{verdict.name}'=U"
    limits = ";".join(_limit(verdict.unit, limit) for limit in (worst.warning, worst.critical))
    ends = ";0;100" if verdict.unit is Unit.SHARE else ";0" if worst.value >= 0 else ""
    return f"'{verdict.name}'={_number(verdict.unit, worst)}{_UOM[verdict.unit]};{limits}{ends}"


_UOM = {Unit.COUNT: "", Unit.SHARE: "%", Unit.AGE: "s", Unit.SPACE: "B"}


def _number(unit: Unit, one: Reading) -> str:
    return amount(100 * one.value if unit is Unit.SHARE else one.value)


def _limit(unit: Unit, limit: float | None) -> str:
    if limit is None:
        return ""
    match unit:
        case Unit.COUNT:
            return amount(limit - 1)
        case Unit.SHARE:
            return amount(100 * limit)
        case Unit.SPACE:
            return f"{amount(limit)}:"
        case Unit.AGE:
            return amount(limit)
