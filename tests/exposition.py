"""Metrics as others read them: with the parsers of Prometheus' own client."""

from collections.abc import Callable, Iterable
from typing import cast

from prometheus_client import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_classic

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]
"""(name, labels) -> value"""
_read_openmetrics = cast(Callable[[str], Iterable[Metric]], openmetrics.text_string_to_metric_families)


def families(text: str, *, classic: bool = False) -> list[Metric]:
    """What stands there; raises ValueError where the text breaks the format."""
    return list(read_classic(text) if classic else _read_openmetrics(text))


def series(text: str, *, classic: bool = False) -> Series:
    """Each series once."""
    found: Series = {}
    for family in families(text, classic=classic):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, key
            found[key] = sample.value
    return found


def value(found: Series, name: str, **labels: str) -> float | None:
    """Of one series; None: it is not there."""
    return found.get((f"mailagent_{name}", frozenset(labels.items())))
