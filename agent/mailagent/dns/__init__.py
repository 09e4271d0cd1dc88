"""The one resolver: cache, single flight, stale answers rather than none."""

from mailagent.api.domains import ascii_domain, is_host_name
from mailagent.dns.answers import (
    Address,
    AddressAnswer,
    Failed,
    Found,
    MxAnswer,
    MxHost,
    NoData,
    NxDomain,
    PtrAnswer,
    Tlsa,
    TlsaAnswer,
    TxtAnswer,
)
from mailagent.dns.resolver import Resolver

__all__ = [
    "Address",
    "AddressAnswer",
    "Failed",
    "Found",
    "MxAnswer",
    "MxHost",
    "NoData",
    "NxDomain",
    "PtrAnswer",
    "Resolver",
    "Tlsa",
    "TlsaAnswer",
    "TxtAnswer",
    "ascii_domain",
    "is_host_name",
]
