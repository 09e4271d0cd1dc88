"""Which limits can be overridden for what, and what the configuration says of them."""

from typing import Final

from mailagent.api.ids import ProviderName, VmtaName
from mailagent.api.targets import Target, TargetKind
from mailagent.config.structs import AgentConfig, Rate
from mailagent.routing.limits import LIMIT_NAMES, PROVIDER_LIMITS, SITE_LIMITS, VMTA_LIMITS, Limit, LimitTable

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


def configured(config: AgentConfig, target: Target, name: str) -> tuple[Limit[int | Rate], ...]:
    """What the configuration has for limit `name` of `target`, and for the one that it is part of.

    Nothing where it is another one from site to site: of queues, and of a virtual MTA below its caps.
    """
    match target.kind:
        case TargetKind.CELL:
            provider, _, vmta = target.name.rpartition("/")
        case TargetKind.PROVIDER:
            provider, vmta = target.name, ""
        case TargetKind.VMTA if name in VMTA_LIMITS:
            provider, vmta = "", target.name
        case _:
            return ()
    limits = LimitTable(config).of_provider(ProviderName(provider), VmtaName(vmta))
    found: list[Limit[int | Rate]] = [getattr(limits, one) for one in (name, f"provider_{name}") if one in LIMIT_NAMES]
    return tuple(one for one in found if one.value is not None)
