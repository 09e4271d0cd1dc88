"""The address that a connection leaves from."""

from ipaddress import IPv4Address, IPv6Address

import msgspec

from mailagent.api.ids import VmtaName
from mailagent.dns import Address


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Who connects: a virtual MTA's addresses and EHLO name."""

    vmta: VmtaName
    address: IPv4Address | None
    address6: IPv6Address | None
    ehlo: str

    def towards(self, address: Address) -> Address | None:
        """The own address of the family of `address`, if there is one."""
        return self.address if address.version == 4 else self.address6
