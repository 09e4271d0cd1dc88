"""Numbers, times and remote text for people reading a terminal. Pure."""

import unicodedata
from datetime import UTC, datetime

NOTHING = "-"
"""Stands for an absent value in a table."""


def printable(text: str) -> str:
    """Remote text on one line without anything that a terminal would act on.

    Control characters, invisible format characters (direction marks among them) and surrogates become one space.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(" " if unicodedata.category(char)[0] == "C" or char in "\u2028\u2029" else char for char in text)


def count(number: int) -> str:
    """`12,345`."""
    return f"{number:,}"


def of_host(host: str, text: str) -> str:
    """`mx1: no answer`; what names the host by itself, `mx1 has no provider x`, as it is."""
    return text if text.startswith(f"{host} ") else f"{host}: {text}"


def plural(number: int, noun: str, nouns: str = "") -> str:
    """`1 host`, `3 hosts`."""
    return f"{count(number)} {noun if number == 1 else nouns or noun + 's'}"


def duration(seconds: float) -> str:
    """`8s`, `4m05s`, `3h12m`, `2d4h`: two units at most."""
    whole = max(0, int(seconds))
    for size, unit, small, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            rest = whole % size // small
            return f"{whole // size}{unit}{rest:02d}{smaller}" if rest else f"{whole // size}{unit}"
    return f"{whole}s"


def ago(moment: datetime | None, now: datetime) -> str:
    """Age of `moment`."""
    return duration((now - moment).total_seconds()) if moment else NOTHING


def until(moment: datetime | None, now: datetime) -> str:
    """`in 4m`, or `now`."""
    if moment is None:
        return NOTHING
    seconds = (moment - now).total_seconds()
    return f"in {duration(seconds)}" if seconds >= 1 else "now"


def percent(share: float | None) -> str:
    """`34%`, with one digit more below ten per cent."""
    if share is None:
        return NOTHING
    return f"{share:.0%}" if share >= 0.0995 or share == 0 else f"{share:.1%}"


def size(octets: int) -> str:
    """`512 B`, `9.8 KiB`, `16 GiB`."""
    value = float(octets)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def clock(moment: datetime) -> str:
    """`2026-09-01 12:00:07Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
