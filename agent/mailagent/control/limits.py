"""Which limits can be overridden for what."""

from typing import Final

from mailagent.api.targets import TargetKind
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
