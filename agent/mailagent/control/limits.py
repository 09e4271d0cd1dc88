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

    Nothing where it is another one from site to site: of a virtual MTA below its caps, and of queues whose site only
    MX hosts tell.
    """
    table = LimitTable(config)
    place, _, vmta = target.name.rpartition("/")
    match target.kind:
        case TargetKind.CELL:
            limits = table.of_provider(ProviderName(place), VmtaName(vmta))
        case TargetKind.QUEUE:
            limits = table.of_site(place, VmtaName(vmta))
        case TargetKind.PROVIDER:
            limits = table.of_provider(ProviderName(target.name))
        case TargetKind.VMTA if name in VMTA_LIMITS:
            limits = table.of_provider(ProviderName(""), VmtaName(target.name))
        case _:
            return ()
    found: list[Limit[int | Rate]] = [getattr(limits, one) for one in (name, f"provider_{name}") if one in LIMIT_NAMES]
    return tuple(one for one in found if one.value is not None)
