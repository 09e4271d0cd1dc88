"""Metrics as the text that Prometheus reads: OpenMetrics 1.0.0, and the older text format 0.0.4. Pure.

The names are those of the catalogue; all that a host says is values of labels, and numbers.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from mailagent.api.metrics import FAMILIES, SCOPES, Family, Kind, Metrics, Scope, Value

OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
CLASSIC: Final = "text/plain; version=0.0.4; charset=utf-8"
END: Final = "# EOF\n"
"""The last line of OpenMetrics."""
_UNITS: Final = ("seconds", "bytes")
_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


class Part(NamedTuple):
    """What one host reports; `host` empty: without that label."""

    host: str
    metrics: Metrics


def exposition(parts: Sequence[Part], *, openmetrics: bool) -> Iterator[str]:
    """Blocks of lines, one for each family that has values, without the end of OpenMetrics."""
    series = _series(parts)
    for family in FAMILIES:
        if block := describe(family, series.get(family.name, ()), openmetrics=openmetrics):
            yield block


def describe(family: Family, values: Iterable[tuple[str, Value]], *, openmetrics: bool) -> str:
    """A family with its series, each as (labels between braces, value); empty: it has none."""
    name, kind = family.name, family.kind
    lines = [
        f"{name}{{{labels}}} {value}" if labels else f"{name} {value}"
        for labels, value in values
        if value is not None and (kind is Kind.GAUGE or value >= 0)
    ]
    if not lines:
        return ""
    title = name.removesuffix("_total").removesuffix("_info") if openmetrics else name
    word = Kind.GAUGE if kind is Kind.INFO and not openmetrics else kind
    head = [f"# HELP {title} {family.help}", f"# TYPE {title} {word}"]
    unit = title.rpartition("_")[2]
    if openmetrics and unit in _UNITS:
        head.append(f"# UNIT {title} {unit}")
    return "\n".join([*head, *lines, ""])


def label(name: str, value: str) -> str:
    """`name="value"`, on one line whatever the value is, and without what a terminal would act on."""
    if not (value.isascii() and value.isprintable()):
        value = "".join(" " if _is_invisible(char) else char for char in value)
    return f'{name}="{value.translate(_ESCAPES)}"'


def _is_invisible(char: str) -> bool:
    return unicodedata.category(char)[0] == "C" or char in "\u2028\u2029"


def is_openmetrics_wanted(accept: str) -> bool:
    """Whether an HTTP `Accept` asks for OpenMetrics, and for nothing older more than for that.

    Without a wish it is the older format, which every reader takes.
    """
    wanted, other = 0.0, 0.0
    for one in accept.lower().split(","):
        media, *parameters = (word.strip() for word in one.split(";"))
        quality = next((_number(word[2:]) for word in parameters if word.startswith("q=")), 1.0)
        if media == "application/openmetrics-text":
            wanted = max(wanted, quality)
        elif media == "text/plain":
            other = max(other, quality)
    return wanted > 0 and wanted >= other


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _series(parts: Iterable[Part]) -> dict[str, list[tuple[str, Value]]]:
    """Labels and value of each series, by family; what does not fit the catalogue is left out."""
    known = {family.name: family.scope for family in FAMILIES}
    found: dict[str, list[tuple[str, Value]]] = {}
    for host, metrics in parts:
        first = (label("host", host),) if host else ()
        seen = set()
        for table in metrics.tables:
            if table.scope in seen or table.scope not in SCOPES:
                continue
            seen.add(table.scope)
            columns = [
                (n, found.setdefault(name, []))
                for n, name in enumerate(table.names)
                if known.get(name) == table.scope and table.names.index(name) == n
            ]
            names = SCOPES[Scope(table.scope)].labels
            rows = {row.labels: row.values for row in table.rows if len(row.labels) == len(names)}
            for values, numbers in rows.items():
                labels = ",".join((*first, *map(label, names, values)))
                for n, column in columns:
                    if n < len(numbers):
                        column.append((labels, numbers[n]))
    return found
