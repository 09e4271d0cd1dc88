"""The `metrics` section of a host: where its figures can be read."""

from ipaddress import IPv4Address, IPv6Address

import msgspec


class Metrics(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where `GET /metrics` answers, to whoever can connect."""

    address: IPv4Address | IPv6Address = IPv4Address("127.0.0.1")
    port: int = 9464
