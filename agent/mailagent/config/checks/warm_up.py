"""What `warm_up` means: growth that receivers bear, towards providers that exist."""

from collections.abc import Collection
from datetime import timedelta
from itertools import chain

from mailagent.api.ids import ProviderName
from mailagent.config.checks.words import known
from mailagent.config.nodes import Key
from mailagent.config.providers import merge_providers
from mailagent.config.reading import Reader
from mailagent.config.structs import Shared
from mailagent.config.warm_up import MOST_GROWTH, PoolWarmUp, WarmUp, WarmUpPlan

SHORTEST = timedelta(seconds=1)
LONGEST_WEEKS = 52


def check_warm_up(config: Shared, report: Reader) -> None:
    """Report every mistake in `warm_up` and in those of pools."""
    settings = config.warm_up
    if not SHORTEST <= settings.day <= timedelta(days=1):
        report.follow_up(("warm_up", "day"), "must be from 1s to 1d")
    elif not SHORTEST <= settings.spread <= settings.day:
        report.follow_up(("warm_up", "spread"), "must be from 1s to the length of a day")
    providers = merge_providers(config.providers)
    _check(settings, WarmUpPlan(settings), ("warm_up",), providers, report)
    for name, pool in config.pools.items():
        if pool.warm_up is not None:
            plan = WarmUpPlan(settings, pool.warm_up)
            _check(pool.warm_up, plan, ("pools", name, "warm_up"), providers, report)


def _check(
    said: WarmUp | PoolWarmUp, plan: WarmUpPlan, key: Key, providers: Collection[ProviderName], report: Reader
) -> None:
    if said.weeks is not None and said.weeks > LONGEST_WEEKS:
        report.follow_up((*key, "weeks"), f"must be at most {LONGEST_WEEKS}")
        return
    for name in said.providers:
        if name not in providers and not report.lacks("providers"):
            report.follow_up((*key, "providers", name), f"`{name}` is none of the providers{known(providers)}")
    steep: dict[Key, str] = {}
    for name in chain(said.providers, providers):
        at = (*key, "providers", name) if name in said.providers else key
        start, target = plan.start(name), plan.target(name)
        if start > target:
            steep.setdefault(at, f"would begin with {start:,} a day, above its target of {target:,}")
        elif (growth := plan.growth(name)) > MOST_GROWTH:
            steep.setdefault(
                at,
                f"would grow {growth:.1f} times a day at {name}, from {start:,} to {target:,} in {plan.days} days;"
                f" receivers bear {MOST_GROWTH:g} at most: more weeks, a larger start or a smaller target",
            )
    for at, why in steep.items():
        report.follow_up(at, why)
