"""What a look-up can answer, and nothing of the library that asked."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Generic, NamedTuple, TypeVar

Record = TypeVar("Record")


class Tlsa(NamedTuple):
    """What a host's certificates must match (RFC 6698 section 2.1)."""

    usage: int
    selector: int
    matching: int
    data: bytes


class MxHost(NamedTuple):
    """One mail exchanger: a lower preference is tried first."""

    preference: int
    name: str  # lower case, without final dot; empty for a null MX


@dataclass(frozen=True, slots=True)
class Found(Generic[Record]):
    """Records exist. MX hosts are in order of (preference, name); a null MX is one host without a name (RFC 7505).

    MX and PTR records that name no host are left out; `records` is empty when all do.
    """

    records: tuple[Record, ...]
    stale: bool = False  # an expired answer, served because the servers did not give a new one
    secure: bool = False  # a validating resolver of ours has checked its signatures (RFC 4035 section 3.2.3)
    canonical: str = ""  # the name that the records belong to, when CNAMEs led there


@dataclass(frozen=True, slots=True)
class NoData:
    """The name exists and has no such record."""

    secure: bool = False  # proven by DNSSEC


@dataclass(frozen=True, slots=True)
class NxDomain:
    """No such name."""

    secure: bool = False  # proven by DNSSEC


@dataclass(frozen=True, slots=True)
class Failed:
    """Nothing is known: no answer in time, or a server's error. Never a reason to bounce."""

    reason: str


Address = IPv4Address | IPv6Address
MxAnswer = Found[MxHost] | NoData | NxDomain | Failed
AddressAnswer = Found[Address] | NoData | NxDomain | Failed
TxtAnswer = Found[bytes] | NoData | NxDomain | Failed
PtrAnswer = Found[str] | NoData | NxDomain | Failed
TlsaAnswer = Found[Tlsa] | NoData | NxDomain | Failed
