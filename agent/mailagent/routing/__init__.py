"""Where mail goes and what binds it there: streams, routes, sites, providers, limits, paths."""

from mailagent.dns import MxHost
from mailagent.routing.limits import LIMIT_NAMES, PROVIDER_LIMITS, VMTA_LIMITS, Limit, LimitTable, PathLimits
from mailagent.routing.providers import DEFAULT_PROVIDER
from mailagent.routing.rollup import ROUTE_PROVIDER, Hop, Site
from mailagent.routing.sites import Router
from mailagent.routing.streams import StreamTable
from mailagent.routing.unroutable import Unroutable

__all__ = [
    "DEFAULT_PROVIDER",
    "LIMIT_NAMES",
    "PROVIDER_LIMITS",
    "ROUTE_PROVIDER",
    "VMTA_LIMITS",
    "Hop",
    "Limit",
    "LimitTable",
    "MxHost",
    "PathLimits",
    "Router",
    "Site",
    "StreamTable",
    "Unroutable",
]
