"""What `thresholds` means: warnings come before alarms, shares are shares, and names exist."""

from collections.abc import Collection
from datetime import timedelta

from mailagent.config.checks.words import known
from mailagent.config.nodes import Key
from mailagent.config.providers import merge_providers
from mailagent.config.reading import Reader
from mailagent.config.structs import FleetConfig
from mailagent.config.thresholds import Limits, SpaceLimits, Thresholds


def check_thresholds(config: FleetConfig, report: Reader) -> None:
    """Report every mistake in `thresholds`."""
    settings = config.thresholds
    if not timedelta(minutes=1) <= settings.period <= timedelta(days=1):
        report.follow_up(("thresholds", "period"), "must be from 1m to 1d")
    names: dict[str, Collection[str]] = {
        "providers": merge_providers(config.providers),
        "streams": config.streams,
        "pools": config.pools,
    }
    for name in Thresholds.__struct_fields__:
        limits = getattr(settings, name)
        if not isinstance(limits, Limits):
            continue
        key: Key = ("thresholds", name)
        _check_levels(limits, key, report)
        for section, there in names.items():
            for one, own in getattr(limits, section, {}).items():
                if one not in there and not report.lacks(section):
                    report.follow_up((*key, section, one), f"`{one}` is none of the {section}{known(there)}")
                _check_levels(own, (*key, section, one), report)


def _check_levels(limits: Limits, key: Key, report: Reader) -> None:
    fields = limits.__struct_fields__[:2]
    warning, critical = (getattr(limits, field) for field in fields)
    for field, value in zip(fields, (warning, critical), strict=True):
        if isinstance(value, float) and not 0 < value <= 1:
            report.follow_up((*key, field), "must be above 0 and at most 1: a share")
    if warning is not None and critical is not None:
        falls = isinstance(limits, SpaceLimits)
        if warning < critical if falls else warning > critical:
            report.follow_up(key, "would be critical before it is a warning")
