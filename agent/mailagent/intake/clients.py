"""Which client an address is, where clients are counted."""

from functools import lru_cache
from ipaddress import IPv4Address, ip_address, ip_network

NETWORK_BITS = 64
"""Of an IPv6 client: it has that whole network to come from (RFC 6177 section 2)."""


@lru_cache(maxsize=4096)
def client_group(client: str) -> str:
    """What the address `client` counts under: its IPv6 network, an IPv4 address itself."""
    address = ip_address(client)
    if isinstance(address, IPv4Address) or address.ipv4_mapped is not None:
        return client
    return str(ip_network((address, NETWORK_BITS), strict=False))
