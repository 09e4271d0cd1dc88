"""The PROXY protocol, versions 1 and 2: a balancer's word on who its client is (HAProxy, proxy-protocol.txt). Pure."""

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"  # of version 2
MAX_V1 = 107  # octets with CRLF
MAX_V2 = 16 + 4096
_PREFIX = b"PROXY "
_FAMILIES: dict[str, type[IPv4Address | IPv6Address]] = {"TCP4": IPv4Address, "TCP6": IPv6Address}
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21


class Proxied(NamedTuple):
    """A header that was read."""

    client: str  # address; empty: the balancer speaks for itself (its health check)
    rest: bytes  # octets behind the header


class BadProxyHeader(ValueError):
    """What came is no PROXY header."""


def read_header(data: bytes) -> Proxied | None:
    """The header at the start of `data`; None when there must be more to come.

    Raises:
        BadProxyHeader: it is none, or a damaged one.
    """
    if data[: len(SIGNATURE)] == SIGNATURE[: len(data)]:
        return _version_2(data) if len(data) >= 16 else None
    if data[: len(_PREFIX)] == _PREFIX[: len(data)]:
        return _version_1(data)
    raise BadProxyHeader("no PROXY header")


def _version_1(data: bytes) -> Proxied | None:
    end = data.find(b"\r\n", 0, MAX_V1)
    if end < 0:
        if len(data) >= MAX_V1:
            raise BadProxyHeader("PROXY line too long")
        return None
    words = data[:end].split(b" ")
    rest = data[end + 2 :]
    if words[1:2] == [b"UNKNOWN"]:
        return Proxied("", rest)
    try:
        _, kind, source, target, source_port, target_port = (word.decode("ascii") for word in words)
        family = _FAMILIES[kind]
        client = family(source)
        family(target)
        if not all(port.isdecimal() and int(port) <= 65535 for port in (source_port, target_port)):
            raise ValueError(source_port)
    except (ValueError, KeyError) as exc:
        raise BadProxyHeader(f"bad PROXY line: {exc}") from exc
    return Proxied(_plain(client), rest)


def _version_2(data: bytes) -> Proxied | None:
    command, family, length = struct.unpack_from("!BBH", data, len(SIGNATURE))
    end = 16 + length
    if command not in (_LOCAL, _PROXY):
        raise BadProxyHeader(f"PROXY version and command {command:#04x}")
    if end > MAX_V2:
        raise BadProxyHeader(f"PROXY header of {end} octets")
    if len(data) < end:
        return None
    size = {_TCP4: 4, _TCP6: 16}.get(family)
    if command == _LOCAL or size is None:  # what is no TCP is to be taken as the balancer itself
        return Proxied("", data[end:])
    if length < 2 * size + 4:
        raise BadProxyHeader("PROXY header without its addresses")
    return Proxied(_plain(ip_address(data[16 : 16 + size])), data[end:])


def _plain(client: IPv4Address | IPv6Address) -> str:
    """`client` as networks have it: an IPv4 address that came in the clothes of an IPv6 one is itself."""
    mapped = client.ipv4_mapped if isinstance(client, IPv6Address) else None
    return str(mapped or client)
