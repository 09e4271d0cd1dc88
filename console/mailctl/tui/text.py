"""Numbers, ages and remote text as they stand on the screens."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from mailctl.output.human import plural, printable, size

__all__ = [
    "NOTHING",
    "clean",
    "clean_lines",
    "clock",
    "count",
    "cut",
    "listed",
    "plural",
    "share",
    "since",
    "size",
    "some",
    "span",
    "until",
]

NOTHING = "·"
"""Stands for zero or absent: a calm screen shows only what there is."""


def clean(text: str) -> str:
    """Remote text on one line, harmless."""
    return printable(text)


def clean_lines(text: str) -> list[str]:
    """Remote text as lines, each cleaned."""
    return [clean(line) for line in text.replace("\r\n", "\n").split("\n")]


def count(number: int) -> str:
    """`1,204`; from a million on `1.24M`."""
    if number < 1_000_000:
        return f"{number:,}"
    return f"{number / 1e6:.2f}M" if number < 100_000_000 else f"{number / 1e6:.0f}M"


def cut(text: str, most: int) -> str:
    """At most so many characters, with a mark where some are missing."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def some(number: int) -> str:
    """`count`, with a dot for zero."""
    return count(number) if number else NOTHING


_GROUPS = ("credentials", "dkim", "job", "lock", "note", "suppression")
"""Commands that have their verb as second word."""


def few(title: str) -> str:
    """`suspend cell:yahoo/mkt-1 and 8 more`: a verb with its objects, of many only the first."""
    words = title.split()
    verbs = 2 if words[0] in _GROUPS else 1
    verb, names = " ".join(words[:verbs]), words[verbs:]
    return f"{verb} {names[0]} and {len(names) - 1} more" if len(names) > 3 else title


def share(fraction: float | None) -> str:
    """`2.1%`, `34%`; a dot when there is nothing to divide or it is zero."""
    if not fraction:
        return NOTHING
    if fraction < 0.001:
        return "<0.1%"
    return f"{fraction:.1%}" if fraction < 0.0995 else f"{fraction:.0%}"


def span(seconds: float) -> str:
    """`8s`, `4m`, `3h12m`, `2d4h`: two units at most, at most six characters below 100 days."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes}m" if minutes >= 10 or not rest else f"{minutes}m{rest:02d}s"
    if whole < 86400:
        hours, rest = divmod(whole // 60, 60)
        return f"{hours}h{rest:02d}m" if rest else f"{hours}h"
    days, rest = divmod(whole // 3600, 24)
    return f"{days}d{rest}h" if rest and days < 100 else f"{days}d"


def since(moment: datetime | None, now: datetime) -> str:
    """Age of `moment`; a dot for None."""
    return span((now - moment).total_seconds()) if moment else NOTHING


def until(moment: datetime | None, now: datetime) -> str:
    """`in 4m`, `now`; a dot for None."""
    if moment is None:
        return NOTHING
    return f"in {span((moment - now).total_seconds())}" if moment > now + timedelta(seconds=1) else "now"


def clock(moment: datetime) -> str:
    """`15:42:07`, in UTC."""
    return moment.astimezone(UTC).strftime("%H:%M:%S")


def listed(names: Sequence[str], limit: int = 4) -> str:
    """`mx1, mx2, mx3 and 11 more`."""
    if len(names) <= limit:
        return ", ".join(names)
    return f"{', '.join(names[: limit - 1])} and {len(names) - limit + 1} more"
