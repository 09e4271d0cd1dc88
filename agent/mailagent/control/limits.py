"""Values of limit overrides, in the words of the configuration."""

from typing import Final

from mailagent.api.targets import TargetKind
from mailagent.config.scalars import parse_byte_rate, parse_count, parse_rate
from mailagent.config.structs import Rate
from mailagent.routing.limits import LIMIT_NAMES, PROVIDER_LIMITS, SITE_LIMITS

_NAMES: Final = {
    TargetKind.QUEUE: SITE_LIMITS,
    TargetKind.PROVIDER: SITE_LIMITS + PROVIDER_LIMITS,
    TargetKind.CELL: SITE_LIMITS + PROVIDER_LIMITS,
    TargetKind.VMTA: LIMIT_NAMES,
    TargetKind.JOB: ("rate",),
}


def limit_names(kind: TargetKind) -> tuple[str, ...]:
    """Limits that can be overridden for a target: none that counts beyond it."""
    return _NAMES.get(kind, ())


def parse_limit(name: str, value: str) -> int | Rate:
    """`5` for connections, messages and recipients, `10/s` for rates, `10M/s` for the rate of bytes.

    Raises:
        ValueError: not such a value; the message says what is wrong.
    """
    if name == "bytes_rate":
        return parse_byte_rate(value)
    return parse_rate(value) if name.endswith("rate") else parse_count(value)
