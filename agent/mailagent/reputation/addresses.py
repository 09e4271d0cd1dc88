"""Addresses of virtual MTAs as the world sees them."""

from collections.abc import Iterator
from ipaddress import ip_address

from mailagent.config.structs import VirtualMta
from mailagent.dns import Address


def seen_by_the_world(vmta: VirtualMta) -> Iterator[Address]:
    """`public` where it is said, else `address`; and the other version. A private one is seen by nobody."""
    if vmta.public:
        yield ip_address(vmta.public)
    own = [address for address in (vmta.address, vmta.address6) if address is not None]
    yield from (one for one in own if not (vmta.public and one.version == ip_address(vmta.public).version))
