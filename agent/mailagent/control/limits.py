"""Values of limit overrides, in the words of the configuration."""

from typing import Final

from mailagent.api.targets import TargetKind
from mailagent.config.scalars import parse_count, parse_rate
from mailagent.config.structs import Rate
from mailagent.routing.limits import LIMIT_NAMES

_RATES: Final = frozenset(("rate", "provider_rate"))
_OVER_ALL_SITES: Final = frozenset(("provider_connections", "provider_rate"))


def limit_names(kind: TargetKind) -> tuple[str, ...]:
    """Limits that can be overridden for a target; caps over all sites mean nothing for a single queue."""
    if kind is TargetKind.QUEUE:
        return tuple(name for name in LIMIT_NAMES if name not in _OVER_ALL_SITES)
    return LIMIT_NAMES if kind in (TargetKind.VMTA, TargetKind.PROVIDER) else ()


def parse_limit(name: str, value: str) -> int | Rate:
    """`5` for connections and messages, `10/s` for rates.

    Raises:
        ValueError: not such a value; the message says what is wrong.
    """
    return parse_rate(value) if name in _RATES else parse_count(value)
